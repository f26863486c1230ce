//! Threads: the worker pool of the runtime.
