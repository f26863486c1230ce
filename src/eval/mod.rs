//! Perplexity, divergence and benchmarks.
