//! What a decoder says of its file: which bytes passes read, and when they come to them.

use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

use crate::common::checkpoint::Spec;
use crate::common::model::{new_path, write_gguf};
use gguf_kit::gguf::GgufFile;
use gguf_kit::model::{
    BatchPart, Compute, Decoder, Dimensions, KvCache, KvOptions, KvTypes, Observer, Promises, arch,
};
use gguf_kit::threads::ThreadPool;
use gguf_simd::{BlockType, Kernels};

/// The model of `spec`, and its file.
fn model(dir: &Path, spec: &Spec) -> (GgufFile, Decoder) {
    spec.write(dir);
    let path = new_path(dir, "m");
    write_gguf(dir, &path, |_| BlockType::F16);
    let file = GgufFile::open(&path).unwrap();
    let family = arch::by_gguf_name("llama").unwrap();
    let spec = family.spec_of_file(file.metadata(), &|_| None).unwrap();
    let decoder = Decoder::load(&file, family.gguf_name, spec).unwrap();
    (file, decoder)
}

#[test]
fn matrices_are_read_whole_or_by_rows_or_by_experts() {
    let experts = Spec { n_layer: 3, ..Spec::mixtral() };
    for spec in [Spec::default(), Spec { is_tied: false, has_biases: true, ..Spec::default() }, experts] {
        let dir = tempfile::tempdir().unwrap();
        let (file, decoder) = model(dir.path(), &spec);
        let reads = decoder.reads();
        let bytes_of = |wanted: &dyn Fn(&str) -> bool| -> usize {
            let matrices = file.tensors().iter().filter(|t| t.shape.len() > 1 && wanted(&t.name));
            matrices.map(|tensor| tensor.n_bytes).sum()
        };
        let sum = |ranges: &[Range<usize>]| ranges.iter().map(Range::len).sum::<usize>();
        assert_eq!(reads.stages.len(), spec.n_layer + 1);
        for (layer, ranges) in reads.stages[..spec.n_layer].iter().enumerate() {
            let prefix = format!("blk.{layer}.");
            assert_eq!(sum(ranges), bytes_of(&|name| name.starts_with(&prefix) && !name.contains("_exps")));
        }
        let output = if spec.is_tied { "token_embd.weight" } else { "output.weight" };
        assert_eq!(sum(&reads.stages[spec.n_layer]), bytes_of(&|name| name == output));
        assert_eq!(reads.embedding.is_none(), spec.is_tied);
        let all_experts = bytes_of(&|name| name.contains("_exps"));
        assert_eq!(reads.expert_bytes, all_experts);
        assert_eq!(reads.used_expert_bytes * spec.n_layer * spec.n_expert, 2 * all_experts);
    }
}

/// Some ids of a sequence, all of whose logits are wanted.
pub(crate) struct Ids<'a> {
    pub(crate) ids: &'a [u32],
    pub(crate) cache: KvCache,
}

impl BatchPart for Ids<'_> {
    fn cache(&self) -> &KvCache {
        &self.cache
    }

    fn cache_mut(&mut self) -> &mut KvCache {
        &mut self.cache
    }

    fn ids(&self) -> &[u32] {
        self.ids
    }

    fn n_wanted(&self) -> usize {
        self.ids.len()
    }
}

/// Writes down what it is told: the stages, and the bytes announced in each.
#[derive(Debug, Default)]
struct Diary(Mutex<Vec<(usize, Vec<Range<usize>>)>>);

impl Observer for Diary {
    fn before(&self, stage: usize) {
        self.0.lock().unwrap().push((stage, Vec::new()));
    }

    fn soon(&self, bytes: Range<usize>) {
        self.0.lock().unwrap().last_mut().expect("a stage has begun").1.push(bytes);
    }
}

#[test]
fn passes_announce_their_stages_in_order_and_the_experts_they_chose() {
    let dir = tempfile::tempdir().unwrap();
    let spec = Spec { n_layer: 3, ..Spec::mixtral() };
    let (file, decoder) = model(dir.path(), &spec);
    let (pool, diary) = (ThreadPool::new(2).unwrap(), Diary::default());
    let compute = Compute::new(Kernels::best(), &pool, &diary);
    let dimensions = Dimensions { n_batch: 4, n_ctx: 8, kv_types: KvTypes::default(), n_threads: 2 };
    let mut space = decoder.workspace(dimensions).unwrap();
    let options = KvOptions { n_ctx: 8, n_batch: 4, types: KvTypes::default() };
    let promise = Promises::default().take(KvCache::n_bytes(decoder.kv_spec(), options).unwrap()).unwrap();
    let cache = KvCache::new(decoder.kv_spec(), options, promise).unwrap();
    let mut parts = [Ids { ids: &[5], cache }];
    for ids in [&[5][..], &[7, 8, 9, 10][..]] {
        diary.0.lock().unwrap().clear();
        parts[0].ids = ids;
        decoder.forward(compute, &mut parts, &mut space);
        decoder.logits(compute, &mut space, &mut vec![0.0; ids.len() * decoder.spec().n_vocab]);
        let entries = diary.0.lock().unwrap();
        let stages: Vec<_> = entries.iter().map(|(stage, _)| *stage).collect();
        assert_eq!(stages, [0, 1, 2, 3], "three layers and the output");
        for (stage, announced) in &entries[..3] {
            let n_chosen = announced.len() / 3;
            assert!(2 <= n_chosen && n_chosen <= 2 * ids.len(), "{n_chosen} experts of {} tokens", ids.len());
            for (stack, announced) in ["gate", "up", "down"].iter().zip(announced.chunks(n_chosen)) {
                let tensor = file.tensor(&format!("blk.{stage}.ffn_{stack}_exps.weight")).unwrap();
                let start = usize::try_from(tensor.offset).unwrap();
                let expert_bytes = tensor.n_bytes / spec.n_expert;
                let is_expert = |bytes: &Range<usize>| {
                    let at = bytes.start - start;
                    at < tensor.n_bytes && at.is_multiple_of(expert_bytes) && bytes.len() == expert_bytes
                };
                assert!(announced.iter().all(is_expert), "{stack}: {announced:?}");
                assert!(announced.windows(2).all(|pair| pair[0].end <= pair[1].start), "each once");
            }
        }
        assert!(entries[3].1.is_empty());
    }
}
