//! Limits on what a file may ask of us, checked before anything is allocated or followed.
//!
//! Each is far above what real models need and far below what would hurt.

/// Dimensions of a tensor. GGUF defines at most 4.
pub const MAX_DIMS: usize = 4;

/// Tensors in a model. DeepSeek-V3 in unstacked shards has about 90,000.
pub const MAX_TENSORS: usize = 1 << 20;

/// Key-value pairs in a GGUF header. Real files have up to about a hundred.
pub const MAX_METADATA_PAIRS: usize = 1 << 16;

/// Bytes of the key of a metadata pair, as the format allows; real keys are below 100.
pub const MAX_KEY_BYTES: usize = 65_535;

/// Bytes of one string in a GGUF header: as many as of a JSON file, since `tokenizer.huggingface.json` holds a whole
/// tokenizer.json. Strings are read where they lie in the mapped file, so a long one costs nothing.
pub const MAX_STRING_BYTES: usize = 256 << 20;

/// Bytes of a tensor's name; real names are below 64.
pub const MAX_TENSOR_NAME_BYTES: usize = 512;

/// Elements of one array in a GGUF header. Vocabularies reach 262,144; merges about as many.
pub const MAX_ARRAY_LEN: usize = 1 << 24;

/// Arrays inside arrays. No known key nests at all.
pub const MAX_ARRAY_DEPTH: usize = 4;

/// Bytes that a tensor's data may be aligned to.
pub const MAX_ALIGNMENT: usize = 1 << 20;

/// Bytes of a JSON file beside a checkpoint (tokenizer.json of a large vocabulary is about 35 MB).
pub const MAX_JSON_BYTES: u64 = 256 << 20;

/// Bytes of config.json and its kin, which are a few kilobytes.
pub const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Bytes of model.safetensors.index.json: about a hundred for each tensor.
pub const MAX_INDEX_BYTES: u64 = 128 << 20;

/// Bytes of a model card (README.md) that are read for its front matter.
pub const MAX_MODEL_CARD_BYTES: u64 = 1 << 20;

/// Lists and mappings inside each other in a model card's front matter. Real ones have about eight.
pub const MAX_MODEL_CARD_DEPTH: usize = 64;

/// Bytes of the JSON header of a safetensors file, as its own reference reader limits it.
pub const MAX_SAFETENSORS_HEADER_BYTES: usize = 100_000_000;

/// Bytes of an importance matrix: about eight for each column of each matrix, some 500 MB for hundreds of experts.
pub const MAX_IMPORTANCE_BYTES: u64 = 4 << 30;

/// Bytes of a header that an edit keeps until the new one is on disk. Large vocabularies take about 20 MB.
pub const MAX_JOURNAL_BYTES: u64 = 1 << 30;

/// Shards of a checkpoint.
pub const MAX_SHARDS: usize = 10_000;

/// Layers of a model; each costs a few kilobytes of bookkeeping.
pub const MAX_LAYERS: usize = 4096;

/// Any single dimension of a model: embedding, heads, feed-forward, vocabulary, context.
pub const MAX_DIMENSION: usize = 1 << 27;

/// Elements of an attention head; real ones have up to 512.
pub const MAX_HEAD_DIM: usize = 1 << 16;

/// Tokens of a vocabulary; real ones have up to 262,144.
pub const MAX_VOCAB: usize = 1 << 21;

/// Tokens of an n-gram that a table has rows for.
pub const MAX_NGRAM: usize = 64;

/// Hashes of the n-grams that end at a token.
pub const MAX_NGRAM_HASHES: usize = 1024;

/// Rows of a table of n-grams; real ones have some 320 million.
pub const MAX_NGRAM_ROWS: usize = 1 << 31;

/// How often a matrix that mixes streams is balanced; real ones are 20 times.
pub const MAX_BALANCE: usize = 1000;

/// Experts in a layer.
pub const MAX_EXPERTS: usize = 4096;

/// Threads of a pool.
pub const MAX_THREADS: usize = 1024;

/// Bytes of a text to encode in one call: some 16 million tokens, which no context holds and which take days to
/// evaluate. Encoding by SentencePiece's rule takes about 45 bytes of memory for each, 3 GB for all. Offsets
/// inside are 32-bit even after spaces are escaped.
pub const MAX_TEXT_BYTES: usize = 64 << 20;

/// Bytes of a chat template; the longest known ones have tens of kilobytes.
pub const MAX_TEMPLATE_BYTES: usize = 1 << 20;

/// Steps of a chat template's program for one conversation; a message takes about a hundred.
pub const MAX_TEMPLATE_STEPS: u64 = 20_000_000;

/// Bytes that the values of a chat template may take while it runs. A conversation of 10 MB takes about 50.
pub const MAX_TEMPLATE_MEMORY: usize = 256 << 20;

/// Bytes that a chat template may write for one conversation: far more than any context holds.
pub const MAX_RENDERED_BYTES: usize = 64 << 20;

/// Components of a tokenizer's normalizer, pre-tokenizer, post-processor or decoder; real ones have up to about ten.
pub const MAX_TOKENIZER_COMPONENTS: usize = 64;

/// Bytes of the directory of a PyTorch file's zip archive: about a hundred for each tensor.
pub const MAX_ZIP_DIRECTORY_BYTES: u64 = 256 << 20;

/// Bytes of the pickle in a PyTorch file: a few hundred for each tensor.
pub const MAX_PICKLE_BYTES: u64 = 256 << 20;

/// Values that the pickle of a PyTorch file may make: a few tens for each tensor.
pub const MAX_PICKLE_VALUES: usize = 8 << 20;
