//! What a model and a session of it take in memory, and which session fits: the one place where this is
//! counted, for the check before anything is allocated, for its advice and for `inspect`.

use super::room::{Bound, Room};
use crate::error::{Error, Result};
use crate::limits::MAX_DIMENSION;
use crate::runtime::session_options::SessionOptions;

/// The batch that a session is advised to take where buffers leave no room for its context.
const SMALL_BATCH: usize = 32;

/// Bytes that a model and a session of it take, by what takes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The weights, all of them.
    pub weights: u64,
    /// Of the weights what has to be in memory: a part that stays, and the window through which the rest is
    /// streamed.
    pub least_weights: u64,
    /// Keys and values of the whole context, or of the windows of layers that see no more.
    pub cache: u64,
    /// What steps compute in, and the ids and the text of the whole context.
    pub buffers: u64,
    /// The tokenizer, about.
    pub tokenizer: u64,
}

impl Demand {
    /// Bytes of a session.
    pub fn session(&self) -> u64 {
        self.cache.saturating_add(self.buffers)
    }
}

/// Checks that a session with `options` fits into `room`, beside the weights' least. `demand` counts what
/// sessions take.
///
/// # Errors
/// [`Error::Limit`] if it does not fit, naming what does.
pub(in crate::runtime) fn check_session(
    room: Option<Room>,
    options: SessionOptions,
    demand: impl Fn(SessionOptions) -> Demand,
) -> Result<()> {
    let needed = demand(options);
    if options.n_ctx <= MAX_DIMENSION && room.is_none_or(|room| needed.session() <= room.bytes) {
        return Ok(());
    }
    let advised = room.map_or(u64::MAX, |room| room.advised_bytes());
    let greatest = |n_batch| {
        let fits = |n_ctx| demand(SessionOptions { n_ctx, n_batch, ..options }).session() <= advised;
        greatest_that(fits, options.n_ctx.min(MAX_DIMENSION))
    };
    let n_ctx = greatest(options.n_batch);
    let smaller = (SMALL_BATCH < options.n_batch).then(|| greatest(SMALL_BATCH)).filter(|&n| n / 2 >= n_ctx);
    let mut remedies = Vec::new();
    if let Some(room) = room.filter(|room| room.bound == Bound::Told) {
        remedies.push(format!("--ram {}M or more", enough_mebibytes(room.beside, needed.session())));
    }
    if n_ctx > 0 {
        remedies.push(format!("--ctx {n_ctx} or less"));
    }
    match smaller {
        Some(n) if n == options.n_ctx => remedies.push(format!("--batch {SMALL_BATCH} or less")),
        Some(n) if n > 0 => remedies.push(format!("--ctx {n} with --batch {SMALL_BATCH}")),
        _ => {}
    }
    if remedies.is_empty() {
        let least = demand(SessionOptions { n_ctx: 1, n_batch: 1, ..options });
        return Err(no_room(room, least));
    }
    let takes =
        format!("its keys and values take {}, its buffers {}", shown(needed.cache), shown(needed.buffers));
    let there = match room {
        Some(room) if room.bound == Bound::Told => format!(
            "--ram is too little for a context of {}: {takes}, and beside {} for the program and at least {} of \
             the weights it leaves {}",
            options.n_ctx,
            shown(room.beside.saturating_sub(needed.least_weights)),
            shown(needed.least_weights),
            shown(room.bytes),
        ),
        Some(room) => format!(
            "a context of {} does not fit into memory: {takes}, and beside at least {} of the weights there is \
             room for {}",
            options.n_ctx,
            shown(needed.least_weights),
            shown(room.bytes),
        ),
        None => format!("a context of {} is too long: {takes}", options.n_ctx),
    };
    Err(Error::limit(format!("{there}; use {}", remedies.join(", or "))))
}

/// Checks that there is room for the tokenizer and the least that can follow it, `least`.
///
/// # Errors
/// [`Error::Limit`] if there is not.
pub(in crate::runtime) fn check_start(room: Option<Room>, least: Demand) -> Result<()> {
    let needed = least.session().saturating_add(least.tokenizer);
    if room.is_none_or(|room| needed <= room.bytes) { Ok(()) } else { Err(no_room(room, least)) }
}

/// The error of a model that does not fit, however small the session, whose demand `least` counts.
fn no_room(room: Option<Room>, least: Demand) -> Error {
    let needed = least.session().saturating_add(least.tokenizer);
    let mut parts = vec![format!("at least {} of its weights", shown(least.least_weights))];
    if least.tokenizer > 0 {
        parts.push(format!("about {} for its tokenizer", shown(least.tokenizer)));
    }
    parts.push(format!("{} for the smallest session", shown(least.session())));
    let parts = parts.join(", ");
    match room {
        Some(Room { beside, bound: Bound::Told, .. }) => Error::limit(format!(
            "--ram is too little for this model, which takes {parts}, beside {} for the program; use --ram {}M or more: that \
             is enough for the shortest context (--ctx), and longer ones take more",
            shown(beside.saturating_sub(least.least_weights)),
            enough_mebibytes(beside, needed)
        )),
        Some(Room { beside, whole, .. }) => Error::limit(format!(
            "the model does not fit into memory: it takes {parts}, {} MiB with what is left free, and there are {} \
             MiB; end other programs, raise the limit of the container, or use a smaller model or type",
            mebibytes(beside.saturating_add(needed)),
            whole >> 20,
        )),
        None => Error::limit(format!("the model does not fit into memory: it takes {parts}")),
    }
}

/// The MiB of --ram that suffice for `beside` and `needed` bytes, also when the program itself takes a little
/// more the next time.
fn enough_mebibytes(beside: u64, needed: u64) -> u64 {
    let bytes = beside.saturating_add(needed);
    mebibytes(bytes.saturating_add(bytes / 128)).saturating_add(1)
}

/// The greatest number in `1..=most` that `fits`, if greater ones never do when smaller ones do not; 0 if
/// none.
pub(in crate::runtime) fn greatest_that(fits: impl Fn(usize) -> bool, most: usize) -> usize {
    let (mut enough, mut too_many) = (0, most.saturating_add(1));
    while too_many - enough > 1 {
        let middle = usize::midpoint(enough, too_many);
        if fits(middle) { enough = middle } else { too_many = middle }
    }
    enough
}

pub(in crate::runtime) fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// Bytes in MiB or GiB.
pub(in crate::runtime) fn shown(bytes: u64) -> String {
    let mib = bytes as f64 / (1u64 << 20) as f64;
    if mib < 1024.0 { format!("{mib:.1} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::KvTypes;

    const MIB: u64 = 1 << 20;

    /// A thousand bytes a position, 4,000 a position of the batch, and a million more.
    fn demand(options: SessionOptions) -> Demand {
        Demand {
            weights: 900 * MIB,
            least_weights: 30 * MIB,
            cache: (options.n_ctx as u64).saturating_mul(1000),
            buffers: 1_000_000 + 4000 * options.n_batch.min(options.n_ctx) as u64,
            tokenizer: 0,
        }
    }

    fn options(n_ctx: usize, n_batch: usize) -> SessionOptions {
        SessionOptions { n_ctx, n_batch, kv_types: KvTypes::default() }
    }

    fn room(bytes: u64, bound: Bound) -> Option<Room> {
        Some(Room { bytes, beside: 50 * MIB, whole: bytes + 50 * MIB, bound })
    }

    fn refusal(bytes: u64, bound: Bound, options: SessionOptions) -> String {
        let error = check_session(room(bytes, bound), options, demand).unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{error}");
        error.to_string()
    }

    /// The number after `name` in `message`.
    fn number(message: &str, name: &str) -> usize {
        let rest = message.split_once(name).unwrap_or_else(|| panic!("{name} in {message}")).1;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("a number in {message}"))
    }

    #[test]
    fn a_context_that_does_not_fit_gets_the_greatest_that_does_with_a_margin() {
        let all = |n| room(n, Bound::System);
        check_session(all(2_000_000), options(1000, 0), demand).unwrap();
        check_session(None, options(1000, 0), demand).unwrap();
        let message = refusal(1_999_999, Bound::System, options(1000, 0));
        let n = number(&message, "use --ctx ");
        // A thirty-second of the room is left free.
        assert_eq!(n, (1_999_999 - 1_999_999 / 32 - 1_000_000) / 1000);
        check_session(all(1_999_999 * 31 / 32), options(n, 0), demand).expect("also with a little less room");
    }

    #[test]
    fn buffers_that_take_the_room_are_told_of() {
        let message = refusal(4_000_000, Bound::System, options(2500, 512));
        assert_eq!(number(&message, "use --ctx "), (3_875_000 - 1_000_000 - 4000 * 512) / 1000);
        assert_eq!(number(&message, "or --batch "), 32, "{message}");
        let message = refusal(4_000_000, Bound::System, options(5000, 512));
        assert_eq!(number(&message, "less, or --ctx "), (3_875_000 - 1_000_000 - 4000 * 32) / 1000);
        assert!(message.ends_with("with --batch 32"), "{message}");
    }

    #[test]
    fn a_limit_asked_for_gets_the_least_that_suffices() {
        let message = refusal(2_000_000, Bound::Told, options(40_000, 0));
        let ram = number(&message, "use --ram ") as u64 * MIB;
        let needed = 50 * MIB + 41_000_000;
        assert!(needed < ram && ram < needed + needed / 64 + 2 * MIB, "{message}");
        assert_eq!(number(&message, "or --ctx "), 937);
    }

    #[test]
    fn a_model_that_does_not_fit_at_all_is_refused_with_what_it_takes() {
        let message = refusal(1_000_000, Bound::System, options(1000, 512));
        for part in ["30.0 MiB of its weights", "smallest session", "there are 50 MiB"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        let least = Demand { tokenizer: 86 * MIB, ..demand(options(1, 1)) };
        check_start(room(90 * MIB, Bound::System), least).unwrap();
        let message = check_start(room(80 * MIB, Bound::System), least).unwrap_err().to_string();
        assert!(message.contains("about 86.0 MiB for its tokenizer"), "{message}");
        let message = check_start(room(80 * MIB, Bound::Told), least).unwrap_err().to_string();
        assert!(number(&message, "use --ram ") >= 50 + 86, "{message}");
    }

    #[test]
    fn contexts_beyond_every_limit_are_refused_with_true_numbers() {
        for n_ctx in [MAX_DIMENSION + 1, 1 << 32, usize::MAX] {
            let message = refusal(1 << 30, Bound::System, options(n_ctx, 512));
            assert!(!message.contains(" 0.0 "), "{message}");
            let n = number(&message, "use --ctx ");
            check_session(room(1 << 30, Bound::System), options(n, 512), demand).expect("what is advised");
            let unbounded = check_session(None, options(n_ctx, 512), demand).unwrap_err().to_string();
            assert_eq!(number(&unbounded, "use --ctx "), MAX_DIMENSION);
        }
    }
}
