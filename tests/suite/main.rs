//! The integration tests, in one program: what they test is compiled and linked once.
//!
//! A module is a group of claims. What is claimed of the memory of a whole process
//! is tested by the program in tests/alone.

#[path = "../common/mod.rs"]
mod common;
mod hostile;
mod program;
mod random;
mod stopped;

mod adapters;
mod arguments;
mod budget;
mod calibrate;
mod chat_messages;
mod chat_sessions;
mod chat_templates;
#[cfg(unix)]
mod chat_terminal;
mod checkpoint_fixture;
mod checkpoint_meaning;
mod circles;
mod cli;
mod closed_streams;
mod config_options;
mod consolidated;
mod convert_cache;
mod convert_cli;
mod convert_gguf;
mod convert_inputs;
mod convert_output;
mod convert_outputs;
mod convert_refuses;
mod convert_resume;
mod convert_types;
mod convert_values;
mod cpu_features;
mod decoder_reference;
mod determinism;
mod embed;
mod encoders;
mod engine_errors;
mod families;
mod fold;
mod foreign_gguf;
mod gguf_edit;
mod gguf_peer;
mod gguf_round_trip;
mod gguf_writer;
mod hostile_checkpoint;
mod hostile_config;
mod hostile_fixtures;
mod hostile_gguf;
mod hostile_inputs;
mod hostile_tokenizers;
mod hub;
mod hub_server;
mod hub_streams;
mod importance;
mod logits_file;
mod logits_hash;
mod measures;
mod mlx;
mod model_card;
mod odd_gguf;
mod on_grids;
mod proofs;
mod pruned;
mod reads;
mod rerankers;
mod saved_sequences;
mod scale_search;
mod sequences;
mod speculation;
mod speech;
mod split_models;
mod states;
mod template_limits;
mod template_meaning;
mod terminal;
mod tidy;
mod tokenizer_checkpoints;
mod tokenizer_fixtures;
mod tokenizer_vocabs;
mod unreadable_files;
mod windows;
