//! Sequences that are evaluated together, continued from one another or read back from a file get the
//! bits that each gets alone.

use std::path::{Path, PathBuf};

use crate::common::checkpoint::Spec;
use crate::common::model::{mixed_k, new_path, write_gguf};
use crate::common::options;
use crate::common::texts::bits;
use gguf_kit::Error;
use gguf_kit::model::KvTypes;
use gguf_kit::runtime::{Engine, EngineOptions, Evaluator, Logits, Part, Sequence, Session, SessionOptions};
use gguf_simd::Isa;
use gguf_simd::attention::CacheType;

const KEYS_APART: KvTypes = KvTypes { keys: CacheType::Q8_0, values: CacheType::F16 };

fn engine(path: &Path, n_threads: usize, isa: Isa) -> Engine {
    Engine::load(
        path,
        EngineOptions { n_threads: Some(n_threads), isa: Some(isa), ..EngineOptions::default() },
    )
    .unwrap()
}

/// A model whose one key-value head has its chunks divided between threads, and one of experts.
fn models(dir: &Path) -> Vec<PathBuf> {
    let dense = Spec { n_head: 3, n_head_kv: 1, head_dim: Some(64), ..Spec::default() };
    let experts = Spec { n_ff: 256, n_embd: 256, head_dim: Some(32), ..Spec::mixtral() };
    let write = |name: &str, spec: Spec| {
        let (folder, path) = (dir.join(name), new_path(dir, name));
        std::fs::create_dir(&folder).unwrap();
        spec.write(&folder);
        write_gguf(&folder, &path, mixed_k);
        path
    };
    vec![write("dense", dense), write("experts", experts)]
}

/// The ids of text `text`, which has `n`.
fn ids(text: usize, n: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * i * 37 + text * 11 + i % 3) % 200) as u32).collect()
}

/// All logits of a text evaluated alone.
fn alone(engine: &Engine, ids: &[u32], kv_types: KvTypes) -> Vec<u32> {
    let mut session = Session::new(engine, SessionOptions { kv_types, ..options(ids.len(), 64) }).unwrap();
    bits(session.step(ids, Logits::All).unwrap())
}

/// Texts that end in the first chunk of keys, in the second and in the third.
const LENS: [usize; 3] = [70, 300, 530];

/// How many ids each text gets in each step: prompts, pieces of prompts, single tokens and nothing.
const STEPS: [[usize; 3]; 9] = [
    [0, 200, 500],
    [60, 1, 1],
    [1, 55, 1],
    [0, 1, 2],
    [1, 1, 1],
    [1, 0, 1],
    [2, 7, 1],
    [4, 1, 22],
    [1, 34, 1],
];

/// Evaluates the texts together, step by step, and compares the logits of each with `expected`.
fn assert_same_together(engine: &Engine, options: SessionOptions, expected: &[Vec<u32>], what: &str) {
    let n_vocab = engine.n_vocab();
    let texts = [0, 1, 2].map(|text| ids(text, LENS[text]));
    let mut evaluator = Evaluator::new(engine, options).unwrap();
    let mut sequences = LENS.map(|n| Sequence::new(engine, SessionOptions { n_ctx: n, ..options }).unwrap());
    for (i, step) in STEPS.into_iter().enumerate() {
        // All logits in one step and the last one's in the next, if there is one; none of what is long.
        let wanted = |n| match (n, i % 2) {
            (0 | 200.., _) => Logits::None,
            (_, 0) => Logits::All,
            _ => Logits::Last,
        };
        let starts = [0, 1, 2].map(|text| sequences[text].n_past());
        let parts = sequences.iter_mut().zip(&texts).zip(step);
        let mut parts: Vec<_> = parts
            .map(|((sequence, ids), n)| {
                let start = sequence.n_past();
                Part::new(sequence, &ids[start..start + n], wanted(n))
            })
            .collect();
        let found = evaluator.step(&mut parts).unwrap();
        for (text, n) in step.into_iter().enumerate() {
            let n_wanted = match wanted(n) {
                Logits::None => 0,
                Logits::Last => 1,
                Logits::All => n,
            };
            let end = (starts[text] + n) * n_vocab;
            assert!(
                bits(found.of(text)) == expected[text][end - n_wanted * n_vocab..end],
                "{what}: text {text} in step {i}"
            );
        }
    }
    for (sequence, ids) in sequences.iter().zip(&texts) {
        assert_eq!(sequence.ids(), ids, "every id of every text was evaluated");
    }
}

#[test]
fn sequences_evaluated_together_get_the_bits_they_get_alone() {
    let dir = tempfile::tempdir().unwrap();
    for path in models(dir.path()) {
        for kv_types in CacheType::ALL.map(KvTypes::both).into_iter().chain([KEYS_APART]) {
            let definition = engine(&path, 1, Isa::best());
            let expected: Vec<_> =
                (0..3).map(|text| alone(&definition, &ids(text, LENS[text]), kv_types)).collect();
            for (n_threads, n_batch) in [(1, 512), (2, 48), (3, 7), (4, 512)] {
                let engine = engine(&path, n_threads, Isa::best());
                let what = format!("{}, {kv_types}, {n_threads} threads, {n_batch}", path.display());
                let options = SessionOptions { kv_types, ..options(530, n_batch) };
                assert_same_together(&engine, options, &expected, &what);
            }
        }
    }
}

#[test]
fn sequences_that_share_their_beginning_get_the_bits_they_get_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = &models(dir.path())[0];
    for kv_types in CacheType::ALL.map(KvTypes::both) {
        let engine = engine(path, 2, Isa::best());
        let options = SessionOptions { kv_types, ..options(640, 64) };
        let mut evaluator = Evaluator::new(&engine, options).unwrap();
        let mut parent = Sequence::new(&engine, options).unwrap();
        let prompt = ids(0, 530);
        evaluator.step(&mut [Part::new(&mut parent, &prompt, Logits::None)]).unwrap();
        // The forks go on with texts of their own, and the parent with its own.
        let mut forks: Vec<_> = [0, 1, 256, 400, 512, 530].map(|n| parent.fork(n).unwrap()).into();
        let mut late = forks[3].fork(300).unwrap();
        assert_eq!(late.rewind(290), 290);
        forks.extend([late, parent]);
        let texts: Vec<Vec<u32>> =
            forks.iter().zip(1..).map(|(fork, i)| [fork.ids(), &ids(i, 9)].concat()).collect();
        let parts = forks.iter_mut().zip(&texts);
        let mut parts: Vec<_> = parts
            .map(|(fork, text)| {
                let start = fork.n_past();
                Part::new(fork, &text[start..], Logits::All)
            })
            .collect();
        let found = evaluator.step(&mut parts).unwrap();
        for (i, text) in texts.iter().enumerate() {
            let expected = alone(&engine, text, kv_types);
            assert!(expected.ends_with(&bits(found.of(i))), "{kv_types}: {} tokens", text.len());
            assert_eq!(found.of(i).len(), 9 * engine.n_vocab());
        }
    }
}

#[test]
fn a_fork_after_more_positions_than_there_are_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&models(dir.path())[0], 1, Isa::best());
    let error = Sequence::new(&engine, options(8, 8)).unwrap().fork(1).expect_err("nothing is there");
    assert!(matches!(error, Error::Usage { .. }), "{error}");
}

/// The error of a step with a sequence that cannot make it, and another one, which stays as it was.
fn refusal<'e>(evaluator: &mut Evaluator<'e>, bad: &mut Sequence<'e>, ids: &[u32], wanted: Logits) -> Error {
    let mut good = Sequence::new(evaluator.engine(), options(16, 4)).unwrap();
    let mut parts = [Part::new(&mut good, &[1, 2], Logits::Last), Part::new(bad, ids, wanted)];
    let error = evaluator.step(&mut parts).expect_err("it cannot be made");
    assert!(error.to_string().contains("sequence 1"), "{error}");
    assert_eq!(good.n_past(), 0, "nothing was computed");
    error
}

#[test]
fn a_step_that_one_sequence_cannot_make_is_refused_for_all_and_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = &models(dir.path())[0];
    let engine = engine(path, 1, Isa::best());
    let other = self::engine(path, 1, Isa::best());
    let mut evaluator = Evaluator::new(&engine, options(16, 4)).unwrap();
    let mut good = Sequence::new(&engine, options(16, 4)).unwrap();
    let mut short = Sequence::new(&engine, options(3, 4)).unwrap();
    let error = refusal(&mut evaluator, &mut short, &[1; 4], Logits::Last);
    assert!(matches!(error, Error::Limit { .. }) && error.to_string().contains("context of 3"), "{error}");
    for (ids, wanted) in [(&[u32::MAX][..], Logits::None), (&[], Logits::Last)] {
        let error = refusal(&mut evaluator, &mut short, ids, wanted);
        assert!(matches!(error, Error::Usage { .. }), "{error}");
    }
    let long = Sequence::new(&engine, options(17, 4)).unwrap();
    let small = Sequence::new(&engine, options(16, 3)).unwrap();
    let fine = Sequence::new(&engine, SessionOptions { kv_types: KEYS_APART, ..options(16, 4) }).unwrap();
    let foreign = Sequence::new(&other, options(16, 4)).unwrap();
    let refused = [(long, "17"), (small, "batches of 3"), (fine, "Q8_0,F16"), (foreign, "engine")];
    for (mut bad, word) in refused {
        let error = refusal(&mut evaluator, &mut bad, &[1], Logits::Last);
        assert!(matches!(error, Error::Usage { .. }) && error.to_string().contains(word), "{error}");
    }
    let step = evaluator.step(&mut [Part::new(&mut good, &[1, 2], Logits::Last)]);
    assert_eq!(step.unwrap().of(0).len(), engine.n_vocab());
}

fn fill<'e>(evaluator: &mut Evaluator<'e>, sequence: &mut Sequence<'e>, n: usize) {
    evaluator.step(&mut [Part::new(sequence, &ids(0, n), Logits::None)]).unwrap();
}

#[test]
fn memory_is_promised_for_what_a_fork_fills_again_and_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&models(dir.path())[0], 1, Isa::best());
    let counts = || (engine.promised_bytes(), engine.held_bytes());
    let mut evaluator = Evaluator::new(&engine, options(640, 64)).unwrap();
    let mut parent = Sequence::new(&engine, options(640, 64)).unwrap();
    let chunk = counts().0 / 640 * 256;
    let half = chunk / 2;
    assert_eq!(counts(), (2 * chunk + half, 0), "three chunks, the last of them half as long");
    fill(&mut evaluator, &mut parent, 530);
    assert_eq!(counts(), (half, 2 * chunk));
    let mut child = parent.fork(300).unwrap();
    assert_eq!(counts(), (half + chunk + half, 2 * chunk), "the first chunk is shared");
    assert_eq!(parent.rewind(100), 100);
    assert_eq!(counts(), (half + chunk + half, 2 * chunk), "its second chunk stays reserved, and in memory");
    fill(&mut evaluator, &mut parent, 1);
    assert_eq!(counts(), (2 * chunk + 2 * half, 2 * chunk), "its first chunk is a copy now");
    fill(&mut evaluator, &mut parent, 155);
    assert_eq!(counts(), (chunk + 2 * half, 3 * chunk));
    child.clear();
    assert_eq!(counts(), (chunk + 2 * half, 3 * chunk), "its first chunk is no longer shared");
    drop(parent);
    assert_eq!(counts(), (chunk + half, chunk));
    drop(child);
    assert_eq!(counts(), (0, 0));
}

#[test]
fn evaluators_on_several_threads_get_the_bits_they_get_alone() {
    let dir = tempfile::tempdir().unwrap();
    let spec = Spec { n_embd: 512, n_ff: 1024, n_layer: 4, ..Spec::default() };
    spec.write(dir.path());
    let path = new_path(dir.path(), "large");
    write_gguf(dir.path(), &path, mixed_k);
    let whole = engine(&path, 2, Isa::best());
    let options = EngineOptions { n_threads: Some(2), ..EngineOptions::default() };
    let little = crate::common::engine_in_little_memory(&path, options);
    let is_streamed = crate::common::streamed_bytes(&little) > 0;
    assert!(is_streamed || cfg!(not(target_os = "linux")), "nothing is streamed");
    let expected = [0, 1].map(|text| alone(&whole, &ids(text, 90), KvTypes::default()));
    for engine in [&whole, &little] {
        let run = |text: usize| {
            for _ in 0..3 {
                assert!(alone(engine, &ids(text, 90), KvTypes::default()) == expected[text], "text {text}");
            }
        };
        std::thread::scope(|scope| [0, 1].map(|text| scope.spawn(move || run(text))).map(drop));
        assert_eq!((engine.promised_bytes(), engine.held_bytes()), (0, 0));
    }
}

#[test]
fn sequences_together_are_not_promised_more_than_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(&models(dir.path())[0], 1, Isa::best());
    let new = |n_ctx| Sequence::new(&engine, options(n_ctx, 64));
    let message = new(usize::MAX).expect_err("no machine has it").to_string();
    let (_, fits) = message.split_once("--ctx ").expect("the greatest context that fits");
    let fits: usize = fits.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    // Where the limit of a context comes first, nothing can be said of memory.
    if fits == gguf_kit::limits::MAX_DIMENSION {
        println!("skipped: this machine has memory for any context");
        return;
    }
    let most = new(fits / 10 * 6).expect("there is room for it");
    let error = new(fits / 10 * 6).expect_err("there is no room for two");
    assert!(matches!(error, Error::Limit { .. }) && error.to_string().contains("--ctx"), "{error}");
    drop(most);
    new(fits / 10 * 6).expect("the room was given back");
}
