//! Calibration: codes chosen so that a matrix, given the inputs that it really gets, answers nearly as before.
//!
//! `pass` walks the layers; `observe` and `hessian` gather what inputs are like, `factor` says what the error of one
//! column does to the others, `codes` chooses, `tensor` keeps what is better on texts that were held out, and
//! `store` what is finished.

mod batches;
mod bytes;
mod calibrated;
mod codes;
mod factor;
mod hessian;
mod observe;
mod pass;
mod store;
mod streams;
mod tensor;

pub use calibrated::Calibrated;
pub use pass::{CalibrateOptions, calibrate, folder_of};
pub use store::Won;
