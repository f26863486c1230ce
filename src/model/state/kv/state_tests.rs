use gguf_simd::attention::CacheType;

use super::*;
use crate::model::spec::kv::KvLayer;
use crate::model::state::promises::Promises;

const N_CTX: usize = 4000;

/// A layer that keeps positions, and two with states of three floats and one.
fn spec() -> KvSpec {
    let layer = KvLayer { n_head_kv: 1, head_dim_k: 2, head_dim_v: 2, window: None };
    KvSpec { layers: vec![None, Some(layer), None], states: vec![3, 0, 1] }
}

const STATE_BYTES: u64 = 4 * 4;

fn empty(promises: &Promises) -> KvCache {
    let options = KvOptions { n_ctx: N_CTX, n_batch: N_CTX, types: KvTypes::both(CacheType::F16) };
    let promise = promises.take(KvCache::n_bytes(&spec(), options).unwrap()).unwrap();
    KvCache::new(&spec(), options, promise).unwrap()
}

/// Appends `n` positions; a state counts them and adds their numbers.
fn append(cache: &mut KvCache, promises: &Promises, n: usize) {
    let promise = promises.take(cache.missing_bytes(n)).unwrap();
    cache.prepare(n, promise).unwrap();
    assert_eq!(cache.missing_bytes(n), 0);
    cache.begin(n);
    let first = cache.n_past();
    for position in first..first + n {
        cache.state_mut(0).values[0] += 1.0;
        cache.state_mut(2).values[0] += position as f32;
    }
    cache.advance(n);
}

/// What the states say of the positions before, if they are its own.
fn told(cache: &mut KvCache, promises: &Promises) -> (usize, usize) {
    let promise = promises.take(cache.missing_bytes(1)).unwrap();
    cache.prepare(1, promise).unwrap();
    cache.begin(1);
    (cache.state_mut(0).values[0] as usize, cache.state_mut(2).values[0] as usize)
}

fn expected(n: usize) -> (usize, usize) {
    (n, n * n.saturating_sub(1) / 2)
}

#[test]
fn a_state_is_that_of_the_text_wherever_it_goes_back_to() {
    let promises = Promises::default();
    let mut cache = empty(&promises);
    append(&mut cache, &promises, 10);
    cache.checkpoint();
    append(&mut cache, &promises, 5);
    cache.checkpoint();
    append(&mut cache, &promises, 5);
    for (n, kept) in [(20, 20), (19, 15), (15, 15), (12, 10), (10, 10), (9, 0)] {
        assert_eq!((cache.reach(n), cache.rewind(n)), (kept, kept), "{n}");
        assert_eq!(told(&mut cache, &promises), expected(kept), "{n}");
    }
    append(&mut cache, &promises, 7);
    assert_eq!(told(&mut cache, &promises), expected(7));
}

#[test]
fn a_fork_has_a_state_of_its_own_and_shares_the_checkpoints() {
    let promises = Promises::default();
    let mut cache = empty(&promises);
    append(&mut cache, &promises, 10);
    cache.checkpoint();
    append(&mut cache, &promises, 10);
    let mut fork = |n: usize| cache.fork(n, promises.take(cache.fork_bytes(n)).unwrap()).unwrap();
    let mut forks = [20, 15, 0].map(&mut fork);
    append(&mut cache, &promises, 3);
    assert_eq!(told(&mut cache, &promises), expected(23));
    for (fork, n) in forks.iter_mut().zip([20, 10, 0]) {
        assert_eq!(told(fork, &promises), expected(n));
        append(fork, &promises, 1);
        assert_eq!(told(fork, &promises), expected(n + 1));
    }
    assert_eq!(forks[0].rewind(19), 10);
    assert_eq!(told(&mut forks[0], &promises), expected(10));
    drop((cache, forks));
    assert_eq!((promises.promised_bytes(), promises.held_bytes()), (0, 0));
}

#[test]
fn checkpoints_of_states_are_bounded_and_lie_evenly() {
    let promises = Promises::default();
    let mut cache = empty(&promises);
    let mut most = 0;
    for _ in 0..390 {
        append(&mut cache, &promises, 10);
        cache.checkpoint();
        most = most.max(promises.held_bytes());
    }
    let positions: Vec<_> = cache.checkpoints.iter().map(|checkpoint| checkpoint.n_past).collect();
    assert_eq!((positions.len(), positions[31]), (32, 3900));
    let gaps = positions.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.clone().all(|gap| gap <= 4 * 3900 / 32), "{positions:?}");
    // Those of checkpoints, its own and a spare, beside keys and values.
    let kv = cache.reserved_bytes() - STATE_BYTES;
    assert!(most <= kv + 34 * STATE_BYTES, "{most} bytes");
    cache.forget_checkpoints();
    assert_eq!(told(&mut cache, &promises), expected(3900));
    assert_eq!(cache.reach(3899), 0);
}

#[test]
fn the_ends_of_prompts_outlive_what_lies_on_the_way() {
    const MARGIN: usize = 32;
    let promises = Promises::default();
    let mut cache = empty(&promises);
    let ends: Vec<usize> = (1..=12).map(|i| 300 * i).collect();
    for &end in &ends {
        while cache.n_past() < end - MARGIN {
            append(&mut cache, &promises, 4);
            // Far more often than is due, so that there is no room for all.
            cache.checkpoint_on_the_way();
        }
        cache.checkpoint();
        append(&mut cache, &promises, MARGIN);
        cache.checkpoint();
    }
    assert_eq!(cache.checkpoints.len(), 32);
    for end in ends {
        assert!(cache.reach(end) >= end - MARGIN, "{end}: {}", cache.reach(end));
    }
    // What is left of the room lies between them.
    let n_on_the_way = cache.checkpoints.iter().filter(|checkpoint| !checkpoint.is_border).count();
    assert!(n_on_the_way >= 32 / 4, "{n_on_the_way}");
}

#[test]
fn a_checkpoint_is_due_every_few_hundred_positions_of_a_text_with_states() {
    let promises = Promises::default();
    let mut cache = empty(&promises);
    append(&mut cache, &promises, 255);
    assert!(!cache.is_checkpoint_due());
    append(&mut cache, &promises, 1);
    assert!(cache.is_checkpoint_due());
    cache.checkpoint();
    assert!(!cache.is_checkpoint_due());
    append(&mut cache, &promises, 300);
    assert!(cache.is_checkpoint_due());
}

#[test]
#[should_panic(expected = "a state of its own")]
fn a_shared_state_is_never_written_to() {
    let promises = Promises::default();
    let mut cache = empty(&promises);
    append(&mut cache, &promises, 3);
    cache.checkpoint();
    cache.begin(1);
    cache.state_mut(0).values[0] = 1.0;
}

/// As [`append`], with ways back.
fn append_ahead(cache: &mut KvCache, promises: &Promises, n: usize) {
    let promise = promises.take(cache.missing_bytes(n)).unwrap();
    cache.prepare(n, promise).unwrap();
    cache.leave_trail();
    let first = cache.n_past();
    cache.begin(n);
    for layer in [0, 2] {
        cache.state_mut(layer).walk(n, |positions, state| {
            for position in positions {
                state[0] += if layer == 0 { 1.0 } else { (first + position) as f32 };
            }
        });
    }
    cache.advance(n);
}

fn with_trail(promises: &Promises, most: usize) -> KvCache {
    let mut cache = empty(promises);
    let (n_bytes, n_rows) = cache.trail_bytes(most);
    assert_eq!((n_bytes, n_rows), (STATE_BYTES * most as u64, most));
    cache.reserve_trail(n_rows, promises.take(n_bytes).unwrap()).unwrap();
    assert_eq!((cache.trail_bytes(most), cache.n_trail()), ((0, 0), most), "there is room already");
    cache
}

#[test]
fn a_step_that_leaves_a_trail_can_be_taken_back_to_each_of_its_positions() {
    let promises = Promises::default();
    let mut cache = with_trail(&promises, 4);
    append(&mut cache, &promises, 10);
    for (n, kept) in [(5, 4), (5, 1), (5, 5), (1, 1), (3, 2), (5, 2)] {
        let before = cache.n_past();
        append_ahead(&mut cache, &promises, n);
        assert_eq!(cache.reach(before), 0, "not before the step");
        assert_eq!(cache.rewind(before + kept), before + kept, "{n} {kept}");
        cache.forget_trail();
        assert_eq!(told(&mut cache, &promises), expected(before + kept), "{n} {kept}");
    }
}

#[test]
fn a_trail_goes_on_from_step_to_step_as_far_as_there_is_room() {
    let promises = Promises::default();
    let mut cache = with_trail(&promises, 4);
    append(&mut cache, &promises, 10);
    (0..6).for_each(|_| append_ahead(&mut cache, &promises, 1));
    assert_eq!([11, 12, 15, 16].map(|n| cache.reach(n)), [0, 12, 15, 16]);
    assert_eq!(cache.rewind(14), 14);
    append_ahead(&mut cache, &promises, 1);
    assert_eq!([12, 13, 14, 15].map(|n| cache.reach(n)), [12, 13, 14, 15]);
    assert_eq!(cache.rewind(13), 13);
    assert_eq!(told(&mut cache, &promises), expected(13));
}

#[test]
fn a_trail_ends_where_the_text_goes_on_without_or_from_elsewhere() {
    let promises = Promises::default();
    let mut cache = with_trail(&promises, 4);
    append(&mut cache, &promises, 10);
    cache.checkpoint();
    append_ahead(&mut cache, &promises, 3);
    append(&mut cache, &promises, 1);
    assert_eq!(cache.reach(12), 10, "a step without");
    append_ahead(&mut cache, &promises, 3);
    assert_eq!(cache.rewind(10), 10);
    append_ahead(&mut cache, &promises, 2);
    assert_eq!([10, 11].map(|n| cache.reach(n)), [10, 11]);
    cache.checkpoint();
    assert_eq!(cache.reach(11), 10, "the state is the checkpoint's as well");
    append_ahead(&mut cache, &promises, 3);
    assert_eq!(cache.rewind(13), 13);
    assert_eq!(told(&mut cache, &promises), expected(13));
    assert_eq!((cache.rewind(12), told(&mut cache, &promises)), (12, expected(12)));
    drop(cache);
    assert_eq!(promises.promised_bytes() + promises.held_bytes(), 0);
}

#[test]
fn a_file_keeps_the_last_states_that_were_asked_for_and_the_last_of_all() {
    let promises = Promises::default();
    let mut cache = empty(&promises);
    for (n, is_asked_for) in
        [(10, true), (5, true), (300, false), (7, true), (9, true), (1, true), (280, false)]
    {
        append(&mut cache, &promises, n);
        if is_asked_for { cache.checkpoint() } else { cache.checkpoint_on_the_way() }
    }
    assert_eq!(cache.kept_states(), [15, 322, 331, 332], "none of the last position");
    append(&mut cache, &promises, 1);
    assert_eq!(cache.kept_states(), [15, 322, 331, 332, 612]);
    let bytes = |n: usize, kept: &[usize]| KvCache::state_bytes(&spec(), n, kept);
    assert_eq!(bytes(613, &[15, 612]), Some(3 * STATE_BYTES));
    for (n, kept) in [(613, &[0][..]), (613, &[613]), (613, &[5, 5]), (613, &[6, 5]), (0, &[5])] {
        assert_eq!(bytes(n, kept), None, "{n} {kept:?}");
    }
}
