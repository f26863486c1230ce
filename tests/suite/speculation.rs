//! Guessing changes neither a text nor what a session holds after it, only the number of steps.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{convert, fairytale, options};
use crate::families::registered;
use crate::program::{assert_fails, json_of};
use gguf_kit::Result;
use gguf_kit::convert::FileType;
use gguf_kit::runtime::generate::{Finish, Generator, Request};
use gguf_kit::runtime::speculate::{DraftModel, Drafter, Guess, Known, NGrams, Speculated, Speculator};
use gguf_kit::runtime::{Engine, EngineOptions, Sampler, SamplerOptions, Session, SessionOptions};
use gguf_kit::tokenizer::Tokenizer;

/// A model and its tokenizer.
struct Model {
    engine: Engine,
    tokenizer: Tokenizer,
}

impl Model {
    fn load(path: &Path) -> Self {
        let options = EngineOptions { n_threads: Some(2), ..EngineOptions::default() };
        let engine = Engine::load(path, options).unwrap();
        let tokenizer = Tokenizer::from_metadata(engine.metadata()).unwrap();
        Self { engine, tokenizer }
    }

    fn fairytale(dir: &Path, file_type: FileType) -> Self {
        let path = dir.join(format!("fairytale-{file_type}.gguf"));
        convert(&fairytale(), &path, file_type);
        Self::load(&path)
    }
}

/// Two prompts, answered one after the other.
#[derive(Clone)]
struct Case {
    prompts: [Vec<u32>; 2],
    sampling: SamplerOptions,
    session: SessionOptions,
    max_tokens: Option<usize>,
    stop_strings: Vec<String>,
    /// The user stops each answer after so many pieces of text.
    n_pieces: usize,
}

impl Case {
    fn new(prompts: [Vec<u32>; 2], temperature: f32, session: SessionOptions) -> Self {
        let sampling = SamplerOptions { temperature, seed: 3, ..SamplerOptions::default() };
        Self { prompts, sampling, session, max_tokens: None, stop_strings: Vec::new(), n_pieces: usize::MAX }
    }
}

/// What there is after an answer.
#[derive(Debug, PartialEq)]
struct Answer {
    text: String,
    finish: Finish,
    counts: [usize; 4],
    ids: Vec<u32>,
    session_file: Vec<u8>,
}

/// The answers, and what guessing did for each.
fn run(model: &Model, case: &Case, speculator: Option<Speculator<'_>>) -> (Vec<Answer>, Vec<Speculated>) {
    let session = Session::new(&model.engine, case.session).unwrap();
    let mut generator = match speculator {
        None => Generator::new(session, &model.tokenizer),
        Some(speculator) => Generator::speculating(session, &model.tokenizer, speculator),
    };
    let mut sampler = Sampler::new(case.sampling.clone()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut speculated = Vec::new();
    let mut answer = |prompt: &Vec<u32>| {
        let stop = AtomicBool::new(false);
        let request = Request {
            prompt,
            max_tokens: case.max_tokens,
            stop_strings: &case.stop_strings,
            stop: &stop,
            marked: None,
        };
        let (mut text, mut n_pieces) = (String::new(), 0);
        let generation = generator.run(&request, &mut sampler, &mut |piece| {
            text.push_str(piece);
            n_pieces += 1;
            stop.store(n_pieces >= case.n_pieces, Ordering::Relaxed);
            Ok(())
        });
        let generation = generation.unwrap();
        speculated.extend(generation.speculated);
        let path = dir.path().join("text.session");
        let sequence = generator.session().sequence();
        sequence.save(&path, b"").unwrap();
        Answer {
            text,
            finish: generation.finish,
            counts: [generation.n_prompt, generation.n_reused, generation.n_generated, generation.n_steps],
            ids: sequence.ids().to_vec(),
            session_file: fs::read(path).unwrap(),
        }
    };
    (case.prompts.iter().map(&mut answer).collect(), speculated)
}

/// Knows the text, and guesses one token in `wrong_every` wrongly.
struct Oracle {
    texts: Vec<Vec<u32>>,
    wrong_every: usize,
    n_text: usize,
    n_ahead: usize,
}

impl Drafter for Oracle {
    fn begin(&mut self, ids: &[u32], _: &AtomicBool) -> Result<()> {
        (self.n_text, self.n_ahead) = (ids.len(), 0);
        Ok(())
    }

    fn accept(&mut self, _: u32) {
        (self.n_text, self.n_ahead) = (self.n_text + 1, 0);
    }

    fn guess(&mut self, _: Known<'_>) -> Result<Option<Guess>> {
        let at = self.n_text + self.n_ahead;
        self.n_ahead += 1;
        let is_wrong = at.is_multiple_of(self.wrong_every);
        let id = self.texts.iter().find_map(|text| text.get(at));
        Ok(id.map(|&id| Guess { id: if is_wrong { id ^ 1 } else { id }, trust: (at % 8) as u8 }))
    }
}

/// Asserts that guesses, right ones and wrong ones, change nothing.
fn assert_same(model: &Model, case: &Case, what: &str) -> Vec<Answer> {
    let plain = assert_same_with(model, case, what, &[(usize::MAX, 16), (5, 4), (2, 7), (1, 3)]);
    let (found, _) = run(model, case, Some(Speculator::eager(Box::new(NGrams::new()), 9)));
    assert!(found == plain, "{what}, guessed from the text");
    let (found, _) = run(model, case, Some(Speculator::new(Box::new(NGrams::new()), 9)));
    assert!(found == plain, "{what}, guessed from the text where that pays");
    plain
}

/// As [`assert_same`], with oracles that guess one token in so many wrongly, and so many at once at most.
fn assert_same_with(model: &Model, case: &Case, what: &str, oracles: &[(usize, usize)]) -> Vec<Answer> {
    let (plain, none) = run(model, case, None);
    assert_eq!(none, []);
    for &(wrong_every, most) in oracles {
        // Of the second text it knows nothing, unless that goes on as the first did.
        let texts = plain.iter().take(1).map(|answer| answer.ids.clone()).collect();
        let oracle = Oracle { texts, wrong_every, n_text: 0, n_ahead: 0 };
        let (found, speculated) = run(model, case, Some(Speculator::eager(Box::new(oracle), most)));
        assert!(found == plain, "{what}, one of {wrong_every} wrong: {found:?} is not {plain:?}");
        let Speculated { n_guessed, n_accepted, n_steps, .. } = speculated[0];
        assert!(n_guessed >= n_accepted && n_guessed >= n_steps, "{what}: {speculated:?}");
        let n_steps_of_text = plain[0].counts[3];
        if wrong_every > n_steps_of_text && case.session.n_batch > 1 {
            assert_eq!(n_guessed, n_accepted, "{what}: all guesses are right");
            assert!(
                2 * n_accepted + 1 >= n_steps_of_text,
                "{what}: {n_accepted} of {n_steps_of_text} steps saved"
            );
        }
        if wrong_every == 1 {
            assert_eq!(n_accepted, 0, "{what}");
        }
    }
    plain
}

#[test]
fn guesses_change_neither_text_nor_session_however_an_answer_ends() {
    let dir = tempfile::tempdir().unwrap();
    let model = Model::fairytale(dir.path(), FileType::Q4_K_M);
    let encode = |text| model.tokenizer.encode_prompt(text, true).unwrap();
    let prompts =
        [encode("Once upon a time there was a king who"), encode("Once upon a time there was a queen")];
    for temperature in [0.0, 0.8] {
        let case = Case { max_tokens: Some(60), ..Case::new(prompts.clone(), temperature, options(240, 32)) };
        let plain = assert_same(&model, &case, "a number of tokens");
        assert_eq!(plain[0].finish, Finish::MaxTokens);

        let text = &plain[0].text;
        let middle = text.char_indices().nth(text.chars().count() / 2).unwrap().0;
        let stop_strings = vec!["no such text".to_owned(), text[middle..].chars().take(9).collect()];
        let stopped = assert_same(&model, &Case { stop_strings, ..case.clone() }, "a stop string");
        assert_eq!(stopped[0].finish, Finish::StopString(1));

        let stopped = assert_same(&model, &Case { n_pieces: 20, ..case.clone() }, "the user");
        assert_eq!(stopped[0].finish, Finish::Interrupted);

        let session = options(prompts[0].len() + 30, 16);
        let full = assert_same(&model, &Case { session, max_tokens: None, ..case.clone() }, "a full context");
        assert_eq!(full[0].finish, Finish::ContextFull);

        let sampling =
            SamplerOptions { repeat_penalty: 1.3, frequency_penalty: 0.2, ..case.sampling.clone() };
        assert_same(&model, &Case { sampling, ..case.clone() }, "penalties");
        assert_same(&model, &Case { session: options(240, 1), ..case }, "a batch of one");
    }
}

#[test]
fn guesses_change_nothing_in_any_family() {
    let dir = tempfile::tempdir().unwrap();
    for fixture in registered() {
        let model = Model::load(&fixture.convert(dir.path()));
        let prompt =
            |n: usize, i: usize| (0..n).map(|at| ((at * at * 37 + at * i) % 200) as u32 + 20).collect();
        // The answer passes windows and a border between chunks of the cache, where contexts may be that long.
        let n_ctx = fixture.spec().max_ctx.unwrap_or(280).min(280);
        let prompts = [prompt(n_ctx - 45, 3), prompt(n_ctx / 4, 5)];
        let case = Case { max_tokens: Some(40), ..Case::new(prompts, 0.8, options(n_ctx, 24)) };
        let case = long_answer(&model, &case);
        assert_same_with(&model, &case, &fixture.name, &[(usize::MAX, 16), (2, 7)]);
    }
}

/// The case with a seed that the first answer does not end early with; some models end every answer.
fn long_answer(model: &Model, case: &Case) -> Case {
    let with_seed = |seed| {
        let case = Case { sampling: SamplerOptions { seed, ..case.sampling.clone() }, ..case.clone() };
        (run(model, &case, None).0[0].counts[3] > 20).then_some(case)
    };
    (3..15).find_map(with_seed).unwrap_or_else(|| case.clone())
}

#[test]
fn a_draft_model_with_states_changes_nothing_and_is_right_of_itself() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["qwen35", "mamba", "rwkv7", "kimi-linear", "lfm2", "qwen4exp"] {
        let fixture = registered().into_iter().find(|fixture| fixture.name == name).unwrap();
        let model = Model::load(&fixture.convert(dir.path()));
        let prompt = |n: u32, i: u32| (0..n).map(|at| (at * at * 37 + at * i) % 200 + 20).collect();
        let case =
            Case { max_tokens: Some(40), ..Case::new([prompt(70, 3), prompt(60, 5)], 0.8, options(200, 24)) };
        let case = long_answer(&model, &case);
        let (plain, _) = run(&model, &case, None);
        let session = Session::new(&model.engine, case.session).unwrap();
        let target = (&model.tokenizer, model.engine.n_vocab());
        let draft = DraftModel::new(session, &model.tokenizer, target, 4).unwrap();
        let (found, speculated) = run(&model, &case, Some(Speculator::eager(Box::new(draft), 4)));
        assert!(found == plain, "{name}");
        let Speculated { n_guessed, n_accepted, .. } = speculated[0];
        assert!(n_accepted > 15 && n_guessed == n_accepted, "{name}: {speculated:?}");
    }
}

#[test]
fn a_draft_model_changes_nothing_and_one_of_another_vocabulary_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let model = Model::fairytale(dir.path(), FileType::Q8_0);
    let small = Model::fairytale(dir.path(), FileType::Q2_K);
    let n_vocab = model.engine.n_vocab();
    let encode = |text| model.tokenizer.encode_prompt(text, true).unwrap();
    let prompts = [encode("The wolf said to the"), encode("The wolf said to the goat")];
    for temperature in [0.0, 0.8] {
        let case = Case { max_tokens: Some(80), ..Case::new(prompts.clone(), temperature, options(200, 32)) };
        let (plain, _) = run(&model, &case, None);
        for (drafts, n_ctx) in [(&model, 200), (&small, 200), (&small, 60)] {
            let session = Session::new(&drafts.engine, options(n_ctx, 32)).unwrap();
            let draft = DraftModel::new(session, &drafts.tokenizer, (&model.tokenizer, n_vocab), 4).unwrap();
            let (found, speculated) = run(&model, &case, Some(Speculator::eager(Box::new(draft), 4)));
            assert!(found == plain, "temperature {temperature}, context {n_ctx}");
            let Speculated { n_guessed, n_accepted, .. } = speculated[0];
            assert!(n_accepted > 0, "{speculated:?}");
            // The model itself, with the sampler's random numbers, is always right.
            assert!(!std::ptr::eq(drafts, &model) || n_guessed == n_accepted, "{speculated:?}");
        }
    }
    let fixture = registered().into_iter().find(|fixture| fixture.name == "gemma3").unwrap();
    let other = Model::load(&fixture.convert(dir.path()));
    let session = Session::new(&other.engine, options(200, 32)).unwrap();
    let refused = DraftModel::new(session, &other.tokenizer, (&model.tokenizer, n_vocab), 4);
    let message = refused.map(drop).unwrap_err().to_string();
    for part in ["cannot draft", "token ", "--draft"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn programs_say_what_was_guessed_and_give_the_same_text() {
    let fairytale = fairytale();
    let fairytale = fairytale.to_str().unwrap();
    let complete = |more: &[&str]| {
        let prompt =
            "The king said: come to me, my child. The queen said: come to me, my child. The king said:";
        let args =
            ["complete", fairytale, "-p", prompt, "-n", "60", "--temp", "0.5", "--seed", "5", "--json"];
        json_of(args.iter().chain(more))
    };
    let plain = complete(&["--speculate", "off"]);
    assert!(plain["statistics"]["speculation"].is_null());
    for args in
        [&["--speculate", "ngram"][..], &["--draft", fairytale], &["--draft", fairytale, "--draft-max", "2"]]
    {
        let found = complete(args);
        assert_eq!(found["text"], plain["text"], "{args:?}");
        for key in ["generated_tokens", "generation_steps", "prompt_tokens", "finish"] {
            assert_eq!(found["statistics"][key], plain["statistics"][key], "{args:?}: {key}");
        }
        let counted = |key: &str| found["statistics"]["speculation"][key].as_u64().unwrap();
        assert!(counted("guessed") >= counted("accepted") && counted("accepted") == counted("saved_steps"));
        assert!(found["statistics"]["speculation"]["seconds_won"].is_number());
    }
}

#[test]
fn arguments_that_guess_nothing_are_wrong_usage() {
    let fairytale = fairytale();
    let complete = |more: &[&'static str]| {
        let args = ["complete", fairytale.to_str().unwrap(), "-p", "x"].map(str::to_owned);
        args.into_iter().chain(more.iter().map(ToString::to_string)).collect::<Vec<_>>()
    };
    assert_fails(complete(&["--draft-max", "0"]), 2, &["--speculate off"]);
    assert_fails(complete(&["--draft-max", "1000"]), 2, &["256 or less"]);
    assert_fails(complete(&["--speculate", "often"]), 2, &["ngram"]);
    assert_fails(complete(&["--speculate", "off", "--draft", "m.gguf"]), 2, &["--draft"]);
}
