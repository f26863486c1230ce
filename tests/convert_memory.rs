//! A conversion's own memory does not grow with the model.

#![allow(unsafe_code, reason = "counting allocations takes a global allocator, which is unsafe to write")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::checkpoint::Spec;
use gguf_kit::convert::FileType;

/// The system's allocator, with the bytes in use counted.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let in_use = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(in_use, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`; the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn converting_ninety_megabytes_takes_a_few() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    // 44 M weights: 88 MB in BF16, 25 MB in Q4_0.
    let spec = Spec { n_layer: 1, n_embd: 2048, n_ff: 4096, n_head: 32, n_head_kv: 8, ..Spec::default() };
    spec.write_sparse(dir.path());
    // Once with a small model, for what a conversion needs in any case: the tokenizer above all.
    let small = tempfile::tempdir().expect("a temporary folder");
    Spec::default().write(small.path());
    let peak_of = |checkpoint: &std::path::Path| {
        let before = IN_USE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        common::convert(checkpoint, &checkpoint.join("m.gguf"), FileType::Q4_0);
        PEAK.load(Ordering::Relaxed) - before
    };
    let (small, large) = (peak_of(small.path()), peak_of(dir.path()));
    assert!(large < small + (16 << 20), "{large} bytes for the large model, {small} for the small one");
}
