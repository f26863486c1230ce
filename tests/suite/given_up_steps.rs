//! Steps that are given up between two layers cost what they began, and nothing of the text before.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::common::texts::bits;
use crate::families::registered;
use crate::reads::Ids;
use gguf_kit::gguf::GgufFile;
use gguf_kit::model::{
    Compute, Decoder, Dimensions, KvCache, KvOptions, KvTypes, Observer, Promises, Workspace, arch,
};
use gguf_kit::threads::ThreadPool;
use gguf_simd::Kernels;

const N_CTX: usize = 64;
const N_BATCH: usize = 8;

/// Where the text is that a step which is given up was to go on with, and its last checkpoint.
const N_PAST: usize = 44;
const N_CHECKPOINT: usize = 24;

/// Stops a pass once it has come to a stage.
#[derive(Debug)]
struct StopsAt {
    stage: AtomicUsize,
    stop: AtomicBool,
}

impl Observer for StopsAt {
    fn before(&self, stage: usize) {
        if stage == self.stage.load(Ordering::Relaxed) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn soon(&self, _bytes: std::ops::Range<usize>) {}
}

/// A decoder and what it reads a text with.
struct Reader<'a> {
    decoder: &'a Decoder,
    compute: Compute<'a>,
    space: Workspace,
    part: [Ids<'a>; 1],
}

impl<'a> Reader<'a> {
    fn new(decoder: &'a Decoder, compute: Compute<'a>) -> Self {
        let types = KvTypes::default();
        let dimensions = Dimensions { n_batch: N_BATCH, n_ctx: N_CTX, kv_types: types, n_threads: 2 };
        let options = KvOptions { n_ctx: N_CTX, n_batch: N_BATCH, types };
        let n_bytes = KvCache::n_bytes(decoder.kv_spec(), options).unwrap();
        let promise = Promises::default().take(n_bytes).unwrap();
        let cache = KvCache::new(decoder.kv_spec(), options, promise).unwrap();
        let part = [Ids { ids: &[], cache }];
        Self { decoder, compute, space: decoder.workspace(dimensions).unwrap(), part }
    }

    /// Goes on with `ids`; whether that came to an end.
    fn read(&mut self, ids: &'a [u32]) -> bool {
        let cache = &mut self.part[0].cache;
        let promise = Promises::default().take(cache.missing_bytes(ids.len())).unwrap();
        cache.prepare(ids.len(), promise).unwrap();
        self.part[0].ids = ids;
        self.decoder.forward(self.compute, &mut self.part, &mut self.space)
    }

    /// The logits of the last position.
    fn logits(&mut self) -> Vec<u32> {
        let n_vocab = self.decoder.spec().n_vocab;
        let mut out = vec![0.0; self.part[0].ids.len() * n_vocab];
        self.decoder.logits(self.compute, &mut self.space, &mut out);
        bits(&out[out.len() - n_vocab..])
    }
}

#[test]
fn a_text_goes_on_after_a_step_that_was_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let pool = ThreadPool::new(2).unwrap();
    let of_decoders = registered().into_iter().filter(|fixture| !fixture.spec().is_bidirectional());
    for fixture in of_decoders {
        let (name, decoder) = (&fixture.name, decoder(&fixture.convert(dir.path())));
        let n_ids = decoder.spec().n_vocab.min(200) as u32;
        let text: Vec<u32> = (0..N_CTX as u32).map(|i| (i * 37 + 5) % n_ids).collect();
        let observer = StopsAt { stage: AtomicUsize::new(usize::MAX), stop: AtomicBool::new(false) };
        let plain = Compute::new(Kernels::best(), &pool, &observer);
        let mut whole = Reader::new(&decoder, plain);
        assert!(text.chunks(N_BATCH).all(|batch| whole.read(batch)), "{name}");
        let expected = whole.logits();

        let n_layer = decoder.reads().stages.len() - 1;
        for stage in [0, n_layer / 2, n_layer - 1] {
            // A pass that has come to its last layer ends with it.
            let is_stopped = stage + 1 < n_layer;
            let mut reader = Reader::new(&decoder, Compute { stop: Some(&observer.stop), ..plain });
            for batch in text[..N_CHECKPOINT].chunks(N_BATCH) {
                assert!(reader.read(batch));
            }
            reader.part[0].cache.checkpoint();
            assert!(text[N_CHECKPOINT..N_PAST].chunks(N_BATCH).all(|batch| reader.read(batch)));
            observer.stage.store(stage, Ordering::Relaxed);
            assert_eq!(reader.read(&text[N_PAST..N_PAST + N_BATCH]), !is_stopped, "{name}: {stage}");
            observer.stage.store(usize::MAX, Ordering::Relaxed);
            observer.stop.store(false, Ordering::Relaxed);
            let kept = match (is_stopped, decoder.kv_spec().has_states()) {
                (false, _) => N_PAST + N_BATCH,
                (true, false) => N_PAST,
                (true, true) => N_CHECKPOINT,
            };
            assert_eq!(reader.part[0].cache.n_past(), kept, "{name}: {stage}");
            assert!(text[kept..].chunks(N_BATCH).all(|batch| reader.read(batch)), "{name}");
            assert!(reader.logits() == expected, "{name}: {stage}");
        }
    }
}

fn decoder(path: &Path) -> Decoder {
    let file = GgufFile::open(path).unwrap();
    let family = arch::by_gguf_name(file.metadata().architecture().unwrap()).unwrap();
    let shape_of = |name: &str| Some(&*file.tensor(name)?.shape);
    let spec = family.spec_of_file(file.metadata(), &shape_of).unwrap();
    Decoder::load(&file, family.gguf_name, spec).unwrap()
}
