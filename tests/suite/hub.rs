//! Models by their name on the hub: what is downloaded, what goes on after faults, and where it lies.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::common::checkpoint::Spec;
use crate::hub_server::{COMMIT, Fault, Hub};
use gguf_kit::error::Error;
use gguf_kit::hub::{HubName, Settings, Wanted, Watch, fetch, settings::Token};

/// Bytes of the weights: more than what is handed over at a time.
const N_BYTES: usize = 700_000;

/// Remembers what it is told.
#[derive(Default)]
pub(crate) struct Log {
    told: RefCell<Vec<String>>,
    stops_at: Option<u64>,
    reached: RefCell<u64>,
}

impl Watch for Log {
    fn begin(&self, _: u64, _: u64) {}

    fn reached(&self, n_bytes: u64) {
        *self.reached.borrow_mut() = n_bytes;
    }

    fn tell(&self, what: &str) {
        self.told.borrow_mut().push(what.to_owned());
    }

    fn is_cancelled(&self) -> bool {
        self.stops_at.is_some_and(|n| *self.reached.borrow() >= n)
    }
}

/// A repository `o/m` with weights that are just bytes, and a cache for it.
struct Place {
    _folder: tempfile::TempDir,
    cache: tempfile::TempDir,
    hub: Hub,
    weights: Vec<u8>,
}

impl Place {
    fn new() -> Self {
        let (folder, cache) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let weights: Vec<u8> =
            (0..N_BYTES as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        fs::write(folder.path().join("model.safetensors"), &weights).expect("written");
        fs::write(folder.path().join("config.json"), "{}").expect("written");
        fs::write(folder.path().join("pytorch_model.bin"), "left").expect("written");
        let hub = Hub::serve("o/m", folder.path());
        Self { _folder: folder, cache, hub, weights }
    }

    fn settings(&self) -> Settings {
        Settings {
            endpoint: self.hub.endpoint.clone(),
            token: Some(Token { text: "hf_x".into(), source: "HF_TOKEN".into() }),
            cache: self.cache.path().to_owned(),
            is_offline: false,
            certificates: None,
            first_wait: Duration::from_millis(1),
            patience: Duration::from_millis(300),
        }
    }

    fn fetch(&self) -> Result<PathBuf, Error> {
        fetch(&name("hf:o/m"), Wanted::Model, &self.settings(), &Log::default())
    }

    /// Fetches with faults of the weights' requests; the first bytes that were asked for.
    fn fetch_with(&self, faults: &[Fault]) -> Vec<u64> {
        self.hub.with_faults("model.safetensors", faults);
        let folder = self.fetch().expect("fetched");
        assert!(fs::read(folder.join("model.safetensors")).expect("there") == self.weights);
        let requests = self.hub.requests();
        requests
            .into_iter()
            .filter(|(path, ..)| path.ends_with("model.safetensors"))
            .map(|(_, first, _)| first)
            .collect()
    }

    fn refusal_with(&self, end: &str, faults: &[Fault]) -> String {
        self.hub.with_faults(end, faults);
        self.fetch().expect_err("refused").to_string()
    }

    fn blobs(&self) -> PathBuf {
        self.cache.path().join("models--o--m/blobs")
    }
}

pub(crate) fn name(text: &str) -> HubName {
    HubName::of(Path::new(text)).expect("sound").expect("of the hub")
}

#[test]
fn only_what_is_needed_comes_and_lies_where_huggingface_hub_has_it() {
    let place = Place::new();
    let folder = place.fetch().expect("fetched");
    let repository = place.cache.path().join("models--o--m");
    assert_eq!(folder, repository.join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(repository.join("refs/main")).expect("a ref"), COMMIT);
    let mut blobs: Vec<_> =
        fs::read_dir(place.blobs()).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
    blobs.sort();
    // git hash-object of "{}", and the SHA-256 of the weights.
    assert_eq!(blobs[1], "9e26dfeeb6e641a33dae4961196235bdb965b21b");
    assert_eq!((blobs.len(), blobs[0].len()), (2, 64));
    #[cfg(unix)]
    assert_eq!(
        fs::read_link(folder.join("config.json")).expect("a link"),
        Path::new("../../blobs/9e26dfeeb6e641a33dae4961196235bdb965b21b")
    );
    assert_eq!(place.hub.requests().len(), 3);
    assert_eq!(place.fetch_with(&[]), [0; 0], "what is there is not asked for again");
}

#[test]
fn a_download_goes_on_where_it_was_cut() {
    let place = Place::new();
    let firsts = place.fetch_with(&[
        Fault::CutAfter(300_000),
        Fault::CutAfter(1),
        Fault::Status(500, ""),
        Fault::CutAfter(0),
    ]);
    assert_eq!(firsts, [0, 300_000, 300_001, 300_001, 300_001]);
}

#[test]
fn an_interrupted_download_goes_on_in_the_next_run() {
    let place = Place::new();
    let log = Log { stops_at: Some(10), ..Log::default() };
    let outcome = fetch(&name("hf:o/m"), Wanted::Model, &place.settings(), &log);
    assert!(matches!(outcome, Err(Error::Interrupted)), "{outcome:?}");
    let there = *log.reached.borrow();
    assert!(there > 0 && there < N_BYTES as u64);
    place.hub.requests();
    assert_eq!(place.fetch_with(&[]), [there]);
}

#[test]
fn a_server_that_knows_no_parts_sends_everything_again() {
    let place = Place::new();
    assert_eq!(place.fetch_with(&[Fault::CutAfter(5), Fault::NoRanges]), [0, 5]);
}

#[test]
fn a_silent_connection_is_given_up_and_another_goes_on() {
    let place = Place::new();
    let start = Instant::now();
    assert_eq!(place.fetch_with(&[Fault::Silent(Duration::from_secs(5))]), [0, 1]);
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[test]
fn damage_on_the_way_is_noticed_and_repaired_once() {
    let place = Place::new();
    assert_eq!(place.fetch_with(&[Fault::Damaged]), [0, 0]);
    let place = Place::new();
    let message = place.refusal_with("model.safetensors", &[Fault::Damaged, Fault::Damaged]);
    assert!(message.contains("twice") && message.contains("proxy"), "{message}");
    assert_eq!(
        fs::read_dir(place.blobs())
            .expect("a folder")
            .filter(|e| e.as_ref().expect("an entry").metadata().expect("there").len() > 2)
            .count(),
        0
    );
    // A part that was damaged on the disk is noticed likewise.
    place.hub.with_faults("model.safetensors", &[Fault::CutAfter(1000), Fault::Status(404, "")]);
    place.fetch().expect_err("not found");
    let is_partial = |path: &PathBuf| path.extension().is_some_and(|e| e == "incomplete");
    let partial =
        fs::read_dir(place.blobs()).expect("a folder").map(|e| e.expect("an entry").path()).find(is_partial);
    fs::write(partial.expect("a part"), [0; 500]).expect("written");
    place.hub.requests();
    assert_eq!(place.fetch_with(&[]), [500, 0]);
}

#[test]
fn another_length_than_the_hub_named_is_refused() {
    let place = Place::new();
    let message = place.refusal_with("model.safetensors", &[Fault::WrongLength]);
    assert!(message.contains("700000 bytes") && message.contains("has 700001"), "{message}");
}

#[test]
fn a_limited_rate_is_waited_for_and_a_long_one_told() {
    let place = Place::new();
    assert_eq!(place.fetch_with(&[Fault::Status(429, "retry-after: 0")]), [0, 0]);
    let place = Place::new();
    let message =
        place.refusal_with("model.safetensors", &[Fault::Status(429, "ratelimit: \"api\";r=0;t=290")]);
    assert!(message.contains("asks to wait 290 s") && message.contains("what has come is kept"), "{message}");
    let message = place.refusal_with("revision/main?blobs=true", &[Fault::Status(503, ""); 5]);
    assert!(message.contains("status 503") && message.contains("5 times in a row"), "{message}");
}

#[test]
fn a_token_is_shown_to_the_hub_alone() {
    let place = Place::new();
    place.hub.with_faults("model.safetensors", &[Fault::Redirect]);
    place.fetch().expect("fetched");
    let requests = place.hub.requests();
    assert!(
        requests.iter().all(|(path, _, has_token)| *has_token != path.starts_with("/moved/")),
        "{requests:?}"
    );
    assert!(requests.iter().any(|(path, ..)| path.starts_with("/moved/")));
}

#[test]
fn a_refusal_says_what_to_do() {
    let place = Place::new();
    let gated = [Fault::Status(403, "x-error-code: GatedRepo")];
    let message = place.refusal_with("model.safetensors", &gated);
    assert!(
        message.contains("o/m is gated") && message.contains("the token in HF_TOKEN has no access yet"),
        "{message}"
    );
    let refused = |text: &str, settings: &Settings| {
        fetch(&name(text), Wanted::Model, settings, &Log::default()).expect_err("refused").to_string()
    };
    let anonymous = Settings { token: None, ..place.settings() };
    place.hub.with_faults("config.json", &[Fault::Status(401, "x-error-code: GatedRepo")]);
    let fresh = tempfile::tempdir().expect("a folder");
    let message = refused("hf:o/m", &Settings { cache: fresh.path().to_owned(), ..anonymous.clone() });
    assert!(message.contains("accept its conditions") && message.contains("HF_TOKEN"), "{message}");
    let message = refused("hf:o/other", &anonymous);
    assert!(message.contains("no repository o/other, or it is private"), "{message}");
    let message = refused("hf:o/m:Q4_K_M", &anonymous);
    assert!(message.contains("no GGUF file"), "{message}");
    let closed = Settings { endpoint: "http://127.0.0.1:9".into(), ..place.settings() };
    let message = refused("hf:o/new", &closed);
    assert!(message.contains("no connection") && message.contains("5 times in a row"), "{message}");
}

#[test]
fn what_was_downloaded_serves_without_a_network() {
    let place = Place::new();
    let offline = Settings { is_offline: true, ..place.settings() };
    let fetch = |settings: &Settings, log: &Log| fetch(&name("hf:o/m"), Wanted::Model, settings, log);
    let message = fetch(&offline, &Log::default()).expect_err("nothing there").to_string();
    assert!(message.contains("HF_HUB_OFFLINE"), "{message}");
    let folder = place.fetch().expect("fetched");
    place.hub.requests();
    assert_eq!(fetch(&offline, &Log::default()).expect("there"), folder);
    assert!(place.hub.requests().is_empty());
    let log = Log::default();
    let unreachable = Settings { endpoint: "http://127.0.0.1:9".into(), ..place.settings() };
    assert_eq!(fetch(&unreachable, &log).expect("there"), folder);
    assert!(log.told.borrow().iter().any(|told| told.contains("the copy from the last time is used")));
    // Part of a model is none.
    fs::remove_file(fs::canonicalize(folder.join("model.safetensors")).expect("there")).expect("removed");
    fetch(&offline, &Log::default()).expect_err("incomplete");
}

/// Runs a program with a hub and a cache of its own.
pub(crate) fn run(program: &str, dir: &Path, hub: &Hub, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.current_dir(dir).args(args).env("HF_HOME", dir.join("home")).env("HF_ENDPOINT", &hub.endpoint);
    for variable in [
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
    ] {
        command.env_remove(variable);
    }
    command.output().expect("the program starts")
}

#[test]
fn a_model_of_the_hub_converts_to_the_bytes_of_its_folder_and_runs() {
    let dir = tempfile::tempdir().expect("a folder");
    // The same repository, by hand: its name is in the file.
    let tiny = dir.path().join("models--o--tiny/snapshots/x");
    fs::create_dir_all(&tiny).expect("created");
    Spec::default().write(&tiny);
    let hub = Hub::serve("o/tiny", &tiny);
    hub.with_faults("model.safetensors", &[Fault::CutAfter(100_000)]);
    let convert = |input: &str, output: &str| {
        let args = [input, "--type", "Q8_0", "-o", output];
        let done = run(env!("CARGO_BIN_EXE_gguf-convert"), dir.path(), &hub, &args);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        fs::read(dir.path().join(output)).expect("written")
    };
    assert!(convert("hf:o/tiny", "a.gguf") == convert("models--o--tiny/snapshots/x", "b.gguf"));
    fs::create_dir(dir.path().join("made")).expect("created");
    fs::rename(dir.path().join("a.gguf"), dir.path().join("made/tiny-Q8_0.gguf")).expect("moved");
    let ggufs = Hub::serve("o/tiny-GGUF", &dir.path().join("made"));
    let args = ["tokenize", "hf:o/tiny-GGUF:q8_0", "Once"];
    let done = run(env!("CARGO_BIN_EXE_gguf-run"), dir.path(), &ggufs, &args);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let missing =
        run(env!("CARGO_BIN_EXE_gguf-run"), dir.path(), &ggufs, &["inspect", "hf:o/tiny-GGUF:Q4_K_M"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is tiny-Q8_0.gguf"));
}
