//! What is claimed of the memory of the whole process, in a program of its own with a single test: what other
//! tests allocate meanwhile, and what the harness does between them, would count.

#[path = "../common/mod.rs"]
mod common;

mod allocations;
mod conversion;
#[cfg(target_os = "linux")]
mod least_ram;
mod states;
mod windows;

#[test]
fn memory_is_taken_as_claimed() {
    allocations::steps_allocate_nothing();
    windows::steps_allocate_nothing();
    states::steps_allocate_nothing();
    conversion::converting_ninety_megabytes_takes_a_few();
    #[cfg(target_os = "linux")]
    least_ram::too_little_memory_is_refused_with_about_the_least_that_suffices();
}
