//! Weights of the hub that are read where they are.

use std::fs;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::common::checkpoint::Spec;
use crate::hub::{Log, name, run};
use crate::hub_server::{Fault, Hub};
use gguf_kit::hub::{Purpose, RemoteCheckpoint, Settings};

#[test]
fn weights_are_streamed_to_the_bytes_of_a_download_and_leave_no_copy() {
    let dir = tempfile::tempdir().expect("a folder");
    let tiny = dir.path().join("models--o--tiny/snapshots/x");
    fs::create_dir_all(&tiny).expect("created");
    Spec { is_tied: false, n_layer: 3, ..Spec::default() }.write(&tiny);
    let hub = Hub::serve("o/tiny", &tiny);
    let convert = |args: &[&str]| {
        let done = run(env!("CARGO_BIN_EXE_gguf-convert"), dir.path(), &hub, args);
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let done = convert(&["models--o--tiny/snapshots/x", "--type", "Q8_0", "-o", "here.gguf"]);
    assert_eq!(done.0, Some(0), "{}", done.1);
    let here = fs::read(dir.path().join("here.gguf")).expect("written");
    // Cut in the header, in the middle of a tensor, and while the server is busy.
    let faults = [
        Fault::CutAfter(10),
        Fault::CutAfter(40_001),
        Fault::Status(503, "retry-after: 0"),
        Fault::CutAfter(20_000),
        Fault::Redirect,
    ];
    hub.with_faults("model.safetensors", &faults);
    for (name, threads) in [("one.gguf", "1"), ("three.gguf", "3")] {
        let args = ["hf:o/tiny", "--type", "Q8_0", "--stream", "-o", name, "--threads", threads];
        let done = convert(&args);
        assert_eq!(done.0, Some(0), "{}", done.1);
        assert!(fs::read(dir.path().join(name)).expect("written") == here, "{name} differs");
    }
    let n_bytes = fs::metadata(tiny.join("model.safetensors")).expect("written").len();
    let blobs = fs::read_dir(dir.path().join("home/hub/models--o--tiny/blobs")).expect("a cache");
    for blob in blobs {
        let len = blob.expect("readable").metadata().expect("a file").len();
        assert!(len < n_bytes, "the weights were kept");
    }
    let (status, message) = convert(&["models--o--tiny/snapshots/x", "--type", "Q8_0", "--stream"]);
    assert_eq!(status, Some(2));
    assert!(message.contains("checkpoints of the hub"), "{message}");
    // A server that does not follow is an error, and leaves nothing.
    hub.with_faults("model.safetensors", &[Fault::CutAfter(40_001), Fault::NoRanges]);
    let (status, message) = convert(&["hf:o/tiny", "--type", "Q8_0", "--stream", "-o", "none.gguf"]);
    assert_eq!(status, Some(1), "{message}");
    assert!(message.contains("sends no parts of files"), "{message}");
    assert!(!dir.path().join("none.gguf").exists());
}

#[test]
fn a_dry_run_reads_the_headers_of_weights_and_downloads_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let tiny = dir.path().join("models--o--tiny/snapshots/x");
    fs::create_dir_all(&tiny).expect("created");
    Spec { is_tied: false, ..Spec::default() }.write(&tiny);
    let hub = Hub::serve("o/tiny", &tiny);
    hub.with_faults("model.safetensors", &[Fault::CutAfter(10)]);
    let plan = |input: &str| {
        let args = [input, "--type", "Q8_0", "--dry-run"];
        let done = run(env!("CARGO_BIN_EXE_gguf-convert"), dir.path(), &hub, &args);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("UTF-8")
    };
    let looked = plan("hf:o/tiny");
    assert_eq!(looked, plan("models--o--tiny/snapshots/x"));
    assert!(looked.contains("blk.1.ffn_down.weight"), "{looked}");
    let n_bytes = fs::metadata(tiny.join("model.safetensors")).expect("written").len();
    let blobs = fs::read_dir(dir.path().join("home/hub/models--o--tiny/blobs")).expect("a cache");
    for blob in blobs {
        let len = blob.expect("readable").metadata().expect("a file").len();
        assert!(len != n_bytes, "the weights were downloaded");
    }
    assert!(dir.path().read_dir().expect("a folder").all(|entry| {
        entry.expect("readable").path().extension().is_none_or(|extension| extension != "gguf")
    }));
    // What is here is not asked for again, and the weights come when they are needed.
    let done =
        run(env!("CARGO_BIN_EXE_gguf-convert"), dir.path(), &hub, &["hf:o/tiny", "--type", "Q8_0", "-q"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(plan("hf:o/tiny").lines().count(), looked.lines().count());
}

#[test]
fn a_model_of_many_files_holds_few_connections() {
    const N_SHARDS: usize = 12;
    static STOP: AtomicBool = AtomicBool::new(false);
    let [tiny, cache] = [(), ()].map(|()| tempfile::tempdir().expect("a folder"));
    Spec { n_layer: 6, ..Spec::default() }.write_sharded(tiny.path(), N_SHARDS);
    let hub = Hub::serve("o/tiny", tiny.path());
    let settings = Settings {
        endpoint: hub.endpoint.clone(),
        token: None,
        cache: cache.path().to_owned(),
        is_offline: false,
        certificates: None,
        first_wait: Duration::from_millis(1),
        patience: Duration::from_secs(60),
    };
    let look = RemoteCheckpoint::at(&name("hf:o/tiny"), &settings, &Log::default()).expect("asked");
    let look = look.expect("a checkpoint that is not here");
    let open_at_last = |most: usize| {
        let start = Instant::now();
        while hub.n_bodies() > most && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        hub.n_bodies()
    };
    for (purpose, most) in [(Purpose::Look, 1), (Purpose::Stream, 8)] {
        hub.requests();
        hub.with_faults(".safetensors", &[Fault::Trickle(4000); N_SHARDS]);
        let checkpoint = look.open(purpose, &STOP).expect("headers came");
        assert_eq!(checkpoint.shards().len(), N_SHARDS);
        assert!((1..=most).contains(&open_at_last(most)), "{} for {purpose:?}", hub.n_bodies());
        assert_eq!(hub.requests().len(), N_SHARDS, "each file is asked for once");
        drop(checkpoint);
        assert_eq!(open_at_last(0), 0);
    }
}
