//! From checkpoint to GGUF: plan, recipe, transform, pipeline, verify.
