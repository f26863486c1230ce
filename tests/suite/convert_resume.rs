//! A conversion that is stopped goes on where it was, to the bytes of one that is not.

use std::fs;

use crate::common::checkpoint::Spec;
use crate::stopped::{StopsEarly, names};
use gguf_kit::checkpoint::Checkpoint;
use gguf_kit::convert::{
    FileType, Plan, PlanOptions, Progress, RunOptions, Silent, Summary, run, run_all_resumable,
};
use gguf_kit::error::Error;
use gguf_simd::kernels::Kernels;

#[test]
fn a_stopped_conversion_that_is_to_be_resumed_goes_on_to_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    Spec { n_layer: 4, ..Spec::default() }.write(dir.path());
    let checkpoint = Checkpoint::open(dir.path()).expect("sound");
    let plan = |file_type| Plan::new(&checkpoint, &PlanOptions::new(file_type)).expect("sound");
    let (first, second, third) = (plan(FileType::Q8_0), plan(FileType::Q4_0), plan(FileType::F16));
    let out = tempfile::tempdir().expect("a temporary folder");
    let [a, b] = ["a.gguf", "b.gguf"].map(|name| out.path().join(name));
    let options = RunOptions { overwrite: false, n_threads: 2, kernels: Kernels::best() };
    let outputs = [(&first, &*a), (&second, &*b)];
    let resume = |progress: &dyn Progress| run_all_resumable(&outputs, &options, progress);
    assert!(matches!(resume(&StopsEarly::default()), Err(Error::Interrupted)));
    // Two files and their journal.
    assert_eq!(names(out.path()).len(), 3, "{:?}", names(out.path()));
    let summaries = resume(&Silent).expect("converted");
    assert!(summaries[0].n_resumed_bytes > 0, "nothing was found");
    assert_eq!(names(out.path()), ["a.gguf", "b.gguf"]);
    let alone = tempfile::tempdir().expect("a temporary folder");
    for ((plan, path), resumed) in outputs.iter().zip(&summaries) {
        let whole =
            run(plan, &alone.path().join("m.gguf"), &RunOptions { overwrite: true, ..options }, &Silent);
        let whole = whole.expect("converted");
        assert!(fs::read(path).expect("there") == fs::read(&whole.paths[0]).expect("there"));
        let errors =
            |summary: &Summary| summary.tensors.iter().map(|tensor| tensor.error).collect::<Vec<_>>();
        assert_eq!(errors(resumed), errors(&whole));
    }
    // What another plan left is not taken, and bytes that are not what the journal says are made anew.
    let again = RunOptions { overwrite: true, ..options };
    let stopped = run_all_resumable(&outputs, &again, &StopsEarly::default());
    assert!(matches!(stopped, Err(Error::Interrupted)));
    let partial =
        names(out.path()).into_iter().find(|name| name.starts_with(".a") && name.ends_with("resume"));
    let partial = out.path().join(partial.expect("a partial file"));
    fs::write(&partial, vec![7; fs::metadata(&partial).expect("there").len() as usize]).expect("writable");
    let summaries = run_all_resumable(&outputs, &again, &Silent).expect("converted");
    assert_eq!(summaries[0].n_resumed_bytes, 0);
    let stopped = run_all_resumable(&outputs, &again, &StopsEarly::default());
    assert!(matches!(stopped, Err(Error::Interrupted)));
    for path in [&a, &b] {
        let other = run_all_resumable(&[(&third, path)], &again, &Silent).expect("converted");
        assert_eq!(other[0].n_resumed_bytes, 0);
    }
    assert_eq!(names(out.path()), ["a.gguf", "b.gguf"]);
}
