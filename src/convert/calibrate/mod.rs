//! Calibration: codes chosen so that a matrix, given the inputs that it really gets, answers nearly as before.
//!
//! `pass` walks the layers, beside those of the original; `observe` and `hessian` gather what inputs are like, `drift`
//! what they lack of the original's and how to make up for it, `factor` says what the error of one column does to the
//! others, `codes` and `descent` choose, `tensor` keeps what is better on texts that were held out, and `store` what is
//! finished. `fold` multiplies columns before that, where what makes their inputs can be divided.

mod batches;
mod calibrated;
mod codes;
mod descent;
mod drift;
mod factor;
mod fold;
mod hessian;
mod observe;
mod options;
mod pass;
mod sample;
mod store;
mod streams;
mod sums;
mod tensor;
mod track;

pub use calibrated::Calibrated;
pub use fold::{Folding, Maker};
pub use options::{CalibrateOptions, folder_of};
pub use pass::calibrate;
pub use store::Won;
