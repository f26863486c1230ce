//! Recurrent mixers remember a text in states of fixed size: whatever is gone back to, shared, saved or read again,
//! the logits are those of a text that is read at once.

use std::fs;
use std::path::Path;

use crate::common::options;
use crate::common::texts::{bits, go_on_together, ids};
use crate::families::registered;
use crate::hostile::{Effort, for_each_mutation};
use gguf_kit::runtime::generate::{Generator, Request};
use gguf_kit::runtime::{
    Engine, EngineOptions, Evaluator, Logits, Part, Sampler, SamplerOptions, Sequence, Session,
};
use gguf_kit::tokenizer::Tokenizer;

const N_CTX: usize = 1500;

/// The logits after the last of `ids`, read at once.
fn last(engine: &Engine, ids: &[u32]) -> Vec<u32> {
    let mut session = Session::new(engine, options(N_CTX, N_CTX)).unwrap();
    bits(session.step(ids, Logits::Last).unwrap())
}

fn load(path: &Path) -> Engine {
    Engine::load(path, EngineOptions { n_threads: Some(2), ..EngineOptions::default() }).unwrap()
}

/// A model of every family with recurrent mixers, with its name.
fn engines(dir: &Path) -> Vec<(String, Engine)> {
    let fixtures = registered().into_iter().filter(|fixture| fixture.spec().kv_spec().has_states());
    let found: Vec<_> = fixtures
        .map(|fixture| {
            let engine = load(&fixture.convert(dir));
            (fixture.name, engine)
        })
        .collect();
    assert!(!found.is_empty());
    found
}

#[test]
fn what_follows_a_way_back_has_the_bits_of_a_text_read_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for (name, engine) in engines(dir.path()) {
        let mut session = Session::new(&engine, options(N_CTX, 16)).unwrap();
        let mut text = ids(&engine, 0, 230);
        session.step(&text[..200], Logits::None).unwrap();
        session.checkpoint();
        session.step(&text[200..], Logits::None).unwrap();
        // Each with the position gone back to, what is kept of it, and how long the text is then.
        let steps =
            [(230, 230, 240), (210, 200, 280), (200, 200, 205), (199, 0, 40), (40, 40, 41), (0, 0, 20)];
        for (i, (n, kept, end)) in steps.into_iter().enumerate() {
            assert_eq!(session.sequence().reach(n), kept, "{name}: {n}");
            assert_eq!(session.rewind(n), kept, "{name}: {n}");
            text.truncate(kept);
            text.extend(&ids(&engine, i + 1, end)[kept..]);
            let found = bits(session.step(&text[kept..], Logits::Last).unwrap());
            assert!(found == last(&engine, &text), "{name}: step {i}");
        }
    }
}

#[test]
fn a_long_text_has_a_way_back_every_few_hundred_positions() {
    let dir = tempfile::tempdir().unwrap();
    for (name, engine) in engines(dir.path()) {
        let text = ids(&engine, 0, 1200);
        for piece in [1200, 100, 7] {
            let mut session = Session::new(&engine, options(N_CTX, 64)).unwrap();
            text.chunks(piece).for_each(|piece| _ = session.step(piece, Logits::None).unwrap());
            let ways: Vec<_> = [300, 600, 900, 1199].map(|n| session.sequence().reach(n)).into();
            for (way, n) in ways.iter().zip([300usize, 600, 900, 1199]) {
                assert!(
                    (n.saturating_sub(256 + 100)..=n).contains(way),
                    "{name}: {way} for {n}, {piece} at a time"
                );
            }
            assert_eq!(session.rewind(600), ways[1]);
            let found = bits(session.step(&text[ways[1]..700], Logits::Last).unwrap());
            assert!(found == last(&engine, &text[..700]), "{name}: {piece} at a time");
        }
    }
}

#[test]
fn sequences_that_share_states_get_the_bits_they_get_alone() {
    let dir = tempfile::tempdir().unwrap();
    for (name, engine) in engines(dir.path()) {
        let options = options(N_CTX, 32);
        let mut evaluator = Evaluator::new(&engine, options).unwrap();
        let mut parent = Sequence::new(&engine, options).unwrap();
        let text = ids(&engine, 0, 200);
        evaluator.step(&mut [Part::new(&mut parent, &text[..100], Logits::None)]).unwrap();
        parent.checkpoint();
        evaluator.step(&mut [Part::new(&mut parent, &text[100..], Logits::None)]).unwrap();
        let mut sequences: Vec<_> = [200, 150, 100, 0].map(|n| parent.fork(n).unwrap()).into();
        let kept: Vec<_> = sequences.iter().map(Sequence::n_past).collect();
        assert_eq!(kept, [200, 100, 100, 0], "{name}");
        sequences.push(parent);
        let texts: Vec<Vec<u32>> = sequences
            .iter()
            .zip(1..)
            .map(|(sequence, i)| [sequence.ids(), &ids(&engine, i, 20 * i)].concat())
            .collect();
        let found = go_on_together(&mut evaluator, &mut sequences, &texts);
        for (i, text) in texts.iter().enumerate() {
            assert!(found[i] == last(&engine, text), "{name}: sequence {i}");
        }
    }
}

#[test]
fn a_saved_sequence_goes_on_and_has_its_last_ways_back() {
    let dir = tempfile::tempdir().unwrap();
    for (name, engine) in engines(dir.path()) {
        let file = dir.path().join("text.session");
        let text = ids(&engine, 0, 150);
        let mut session = Session::new(&engine, options(N_CTX, 64)).unwrap();
        session.sequence().save(&file, &[]).unwrap();
        assert_eq!(Sequence::load(&engine, options(N_CTX, 16), &file).unwrap().n_past(), 0);
        for (start, end) in [(0, 60), (60, 90), (90, 140)] {
            session.checkpoint();
            session.step(&text[start..end], Logits::None).unwrap();
        }
        session.sequence().save(&file, b"attached").unwrap();
        let expected = last(&engine, &text);
        let mut loaded = Session::load(&engine, options(300, 16), &file).unwrap();
        assert_eq!((loaded.sequence().ids(), loaded.sequence().attached()), (&text[..140], &b"attached"[..]));
        assert!(bits(loaded.step(&text[140..], Logits::Last).unwrap()) == expected, "{name}");
        for (n, kept) in [(120, 90), (89, 60)] {
            assert_eq!(loaded.rewind(n), kept, "{name}");
            assert!(bits(loaded.step(&text[kept..], Logits::Last).unwrap()) == expected, "{name}");
        }
        // A state that is not finite.
        let mut bytes = fs::read(&file).unwrap();
        let end = bytes.len() - 32 - b"attached".len();
        bytes[end - 4..end].copy_from_slice(&f32::NAN.to_le_bytes());
        reseal(&mut bytes);
        fs::write(&file, bytes).unwrap();
        let error = Sequence::load(&engine, options(300, 16), &file).unwrap_err();
        assert!(error.to_string().contains("not all numbers"), "{error}");
    }
}

#[test]
fn whatever_a_file_of_states_says_is_refused_or_there() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = registered().into_iter().find(|fixture| fixture.name == "lfm2").expect("the fixture");
    let engine = load(&fixture.convert(dir.path()));
    let file = dir.path().join("text.session");
    let mut session = Session::new(&engine, options(64, 8)).unwrap();
    session.step(&[1, 2, 3], Logits::None).unwrap();
    session.checkpoint();
    session.step(&[4, 5], Logits::None).unwrap();
    session.sequence().save(&file, b"attached").unwrap();
    let whole = fs::read(&file).unwrap();
    // Magic, version, fingerprint, types, three layers with their states, counts, what is held and kept, and five ids.
    let n_header = 8 + 4 + 32 + 8 + 4 + 3 * 16 + 3 * 8 + 16 + 8 + 8 + 8 + 5 * 4;
    for_each_mutation(&whole[..whole.len() - 32], n_header, Effort::SMALL, |mutated| {
        let mut bytes = [mutated.as_slice(), &[0; 32]].concat();
        reseal(&mut bytes);
        fs::write(&file, bytes).unwrap();
        if let Ok(sequence) = Sequence::load(&engine, options(64, 8), &file) {
            assert!(sequence.n_past() <= 64 && sequence.ids().len() == sequence.n_past());
            assert!(sequence.reach(sequence.n_past()) == sequence.n_past());
        }
    });
}

/// Puts the digest of what is before at the end of a saved sequence.
fn reseal(bytes: &mut [u8]) {
    use sha2::{Digest, Sha256};
    let (content, digest) = bytes.split_at_mut(bytes.len() - 32);
    digest.copy_from_slice(&Sha256::digest(&*content));
}

#[test]
fn states_are_counted_among_what_a_session_takes() {
    let dir = tempfile::tempdir().unwrap();
    for (name, engine) in engines(dir.path()) {
        let state: usize = engine.kv_spec().states.iter().sum();
        let cache = |n_ctx| engine.demand(options(n_ctx, 8)).unwrap().cache;
        let (one, two) = (cache(256), cache(512));
        assert_eq!(2 * one - two, 4 * state as u64, "{name}");
        let session = Session::new(&engine, options(512, 8)).unwrap();
        assert_eq!(session.cache_bytes(), two, "{name}");
        assert_eq!(session.free_bytes(), two - 4 * state as u64, "{name}: states are in memory at once");
    }
}

#[test]
fn a_prompt_that_comes_again_is_read_again_only_at_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = registered().into_iter().find(|fixture| fixture.name == "lfm2").expect("the fixture");
    let engine = load(&fixture.convert(dir.path()));
    let tokenizer = Tokenizer::from_metadata(engine.metadata()).unwrap();
    let mut generator = Generator::new(Session::new(&engine, options(N_CTX, 64)).unwrap(), &tokenizer);
    let (stop_strings, stop) = ([], false.into());
    let mut run = |prompt: &[u32]| {
        let request =
            Request { prompt, max_tokens: Some(20), stop_strings: &stop_strings, stop: &stop, marked: None };
        let options = SamplerOptions { temperature: 0.0, ..SamplerOptions::default() };
        let mut sampler = Sampler::new(options).unwrap();
        let mut text = String::new();
        let mut show = |piece: &str| {
            text.push_str(piece);
            Ok(())
        };
        let generation = generator.run(&request, &mut sampler, &mut show).unwrap();
        (generation.n_reused, text)
    };
    let prompt = ids(&engine, 0, 200);
    let (n_reused, text) = run(&prompt);
    assert_eq!(n_reused, 0);
    assert_eq!(run(&prompt), (200 - 32, text.clone()), "an answer is asked for again");
    let mut changed = prompt.clone();
    changed[190] += 1;
    assert_eq!(run(&changed).0, 200 - 32, "the end is another");
    assert_eq!(run(&prompt), (200 - 32, text));
}
