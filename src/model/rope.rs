//! Angles of the rotary position embedding.
//!
//! Pair `i` of a head turns by `position * frequency[i]`, with `frequency[i] = base^(-2 i / n_dims)`
//! unless scaled. Everything is computed in `f64` with `libm`, so that all platforms agree to the
//! bit, and rounded to `f32` at the end.

use std::f64::consts::PI;

use super::compute::{Compute, RowsMut, pieces};
use super::memory::Buffers;
use super::spec::{RopeScaling, RopeSpec};
use crate::error::Result;

/// The frequencies of a rotary embedding.
#[derive(Debug)]
pub(super) struct Frequencies {
    /// `[n_dims / 2]`, in radians per position.
    frequencies: Vec<f64>,
    /// Multiplies cosines and sines: an attention factor, else 1.
    magnitude: f64,
}

/// The frequencies for each length of context.
#[derive(Debug)]
pub(super) enum FrequenciesByContext {
    /// The same for all.
    Same(Frequencies),
    /// Others beyond the original context.
    Extended { original_context: usize, short: Frequencies, long: Frequencies },
}

impl FrequenciesByContext {
    /// Those for contexts of `n_ctx` positions.
    pub(super) fn for_context(&self, n_ctx: usize) -> &Frequencies {
        match self {
            Self::Same(frequencies) => frequencies,
            Self::Extended { original_context, short, long } => {
                if n_ctx > *original_context {
                    long
                } else {
                    short
                }
            }
        }
    }

    /// Angles per position.
    pub(super) fn len(&self) -> usize {
        self.for_context(0).len()
    }
}

impl Frequencies {
    /// The frequencies of `rope`, divided by `divisors: [n_dims / 2]` if there are any.
    pub(super) fn new(rope: &RopeSpec, divisors: Option<&[f32]>) -> Self {
        let n_dims = rope.n_dims as f64;
        let base = f64::from(rope.freq_base);
        let trained = (0..rope.n_dims / 2).map(|i| {
            let divisor = divisors.map_or(1.0, |divisors| f64::from(divisors[i]));
            libm::pow(base, -2.0 * i as f64 / n_dims) / divisor
        });
        match rope.scaling {
            RopeScaling::None => Self { frequencies: trained.collect(), magnitude: 1.0 },
            RopeScaling::Magnified { magnitude } => {
                Self { frequencies: trained.collect(), magnitude: magnitude.into() }
            }
            RopeScaling::Linear { factor } => {
                let factor = f64::from(factor);
                Self { frequencies: trained.map(|f| f / factor).collect(), magnitude: 1.0 }
            }
            RopeScaling::Yarn { factor, original_context, attn_factor, beta_fast, beta_slow, truncated } => {
                let factor = f64::from(factor);
                let dim_of = |rotations: f32| {
                    let wavelength = original_context as f64 / (f64::from(rotations) * 2.0 * PI);
                    n_dims * libm::log(wavelength) / (2.0 * libm::log(base))
                };
                let (mut low, mut high) = (dim_of(beta_fast), dim_of(beta_slow));
                if truncated {
                    (low, high) = (libm::floor(low), libm::ceil(high));
                }
                let (low, high) = (low.max(0.0), high.min(n_dims - 1.0));
                let frequencies = trained.enumerate().map(|(i, f)| {
                    // 0 where the dimension is kept, 1 where it is interpolated.
                    let ramp = ((i as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                    f * (1.0 - ramp) + f / factor * ramp
                });
                let temperature = 1.0 + 0.1 * libm::log(factor);
                Self { frequencies: frequencies.collect(), magnitude: f64::from(attn_factor) * temperature }
            }
        }
    }

    /// Angles per position.
    pub(super) fn len(&self) -> usize {
        self.frequencies.len()
    }

    /// The cosines and sines, each `[n_dims / 2]`, at `position`.
    pub(super) fn angles(&self, position: usize, cos: &mut [f32], sin: &mut [f32]) {
        for ((frequency, cos), sin) in self.frequencies.iter().zip(cos).zip(sin) {
            let (s, c) = libm::sincos(position as f64 * frequency);
            *cos = (c * self.magnitude) as f32;
            *sin = (s * self.magnitude) as f32;
        }
    }
}

/// The cosines and sines of the positions of a batch's rows.
#[derive(Debug)]
pub(super) struct Angles {
    n_angles: usize,
    /// `[n_batch, n_angles]`.
    cos: Vec<f32>,
    /// `[n_batch, n_angles]`.
    sin: Vec<f32>,
}

impl Angles {
    /// Room for `n_batch` rows.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(super) fn new(buffers: &mut Buffers, n_batch: usize, n_angles: usize) -> Result<Self> {
        let mut rows = || buffers.zeroed(0.0, n_batch, n_angles);
        Ok(Self { n_angles, cos: rows()?, sin: rows()? })
    }

    /// Computes the angles of the first `n` rows, which are at `position(row)`.
    pub(super) fn fill(
        &mut self,
        compute: Compute<'_>,
        frequencies: &Frequencies,
        n: usize,
        position: impl Fn(usize) -> usize + Sync,
    ) {
        let width = self.n_angles;
        // A sine and a cosine take about as long as 256 multiply-adds of a matrix.
        let row_work = 256 * width;
        let piece_len = compute.piece_len(n, row_work);
        let rows = |values| pieces(RowsMut { values, width }, piece_len);
        let parts = rows(&mut self.cos[..n * width]).zip(rows(&mut self.sin[..n * width])).enumerate();
        compute.for_each(n * row_work, parts, |(i, (cos, sin))| {
            let rows = cos.values.chunks_exact_mut(width).zip(sin.values.chunks_exact_mut(width));
            for (row, (cos, sin)) in (i * piece_len..).zip(rows) {
                frequencies.angles(position(row), cos, sin);
            }
        });
    }

    /// The cosines and sines of a row, each `[n_angles]`.
    pub(super) fn of(&self, row: usize) -> (&[f32], &[f32]) {
        let row = row * self.n_angles..(row + 1) * self.n_angles;
        (&self.cos[row.clone()], &self.sin[row])
    }

    /// Moves the angles of row `from` to row `to`.
    pub(super) fn move_row(&mut self, from: usize, to: usize) {
        for values in [&mut self.cos, &mut self.sin] {
            values.copy_within(from * self.n_angles..(from + 1) * self.n_angles, to * self.n_angles);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::checkpoint::Config;
    use crate::model::arch;
    use crate::model::spec::{Role, RopeFactors, slots};

    fn rope(scaling: RopeScaling) -> RopeSpec {
        RopeSpec { n_dims: 8, freq_base: 10000.0, scaling, factors: RopeFactors::Never }
    }

    fn angles(frequencies: &Frequencies, position: usize) -> (Vec<f32>, Vec<f32>) {
        let (mut cos, mut sin) = (vec![0.0; frequencies.len()], vec![0.0; frequencies.len()]);
        frequencies.angles(position, &mut cos, &mut sin);
        (cos, sin)
    }

    #[test]
    fn angles_follow_the_geometric_series() {
        let (cos, sin) = angles(&Frequencies::new(&rope(RopeScaling::None), None), 7);
        for (i, frequency) in [1.0f64, 0.1, 0.01, 0.001].into_iter().enumerate() {
            assert!((f64::from(cos[i]) - (7.0 * frequency).cos()).abs() < 1e-7);
            assert!((f64::from(sin[i]) - (7.0 * frequency).sin()).abs() < 1e-7);
        }
    }

    #[test]
    fn linear_scaling_divides_positions() {
        let scaled = Frequencies::new(&rope(RopeScaling::Linear { factor: 4.0 }), None);
        let plain = Frequencies::new(&rope(RopeScaling::None), None);
        assert_eq!(angles(&scaled, 12), angles(&plain, 3));
    }

    #[test]
    fn divisors_apply_to_their_frequency() {
        let divided = Frequencies::new(&rope(RopeScaling::None), Some(&[1.0, 2.0, 1.0, 8.0]));
        let plain = Frequencies::new(&rope(RopeScaling::None), None);
        let ((a, _), (b, _), (c, _)) = (angles(&divided, 16), angles(&plain, 16), angles(&plain, 2));
        assert_eq!((a[0], a[2]), (b[0], b[2]));
        assert_eq!(a[3], c[3]);
    }

    #[test]
    fn yarn_keeps_fast_dimensions_and_interpolates_slow_ones() {
        let yarn = RopeScaling::Yarn {
            factor: 4.0,
            original_context: 2048,
            attn_factor: 1.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncated: true,
        };
        let scaled = Frequencies::new(&rope(yarn), None);
        // n_dims log(2048 / (beta 2 pi)) / (2 log 10000): 1.007 for 32 and 2.513 for 1.
        let ramp = [0.0, 0.0, 0.5, 1.0];
        for (i, ramp) in ramp.into_iter().enumerate() {
            let trained = 0.1f64.powi(i as i32);
            let expected = trained * (1.0 - ramp) + trained / 4.0 * ramp;
            assert!((scaled.frequencies[i] - expected).abs() < 1e-12, "{i}: {}", scaled.frequencies[i]);
        }
        assert!((scaled.magnitude - 1.138_629_436).abs() < 1e-8);
    }
    /// From config.json to the frequencies, by the way a conversion takes.
    #[test]
    fn frequencies_are_those_that_transformers_computes() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/rope/frequencies.json");
        let cases: Vec<serde_json::Value> =
            serde_json::from_str(&std::fs::read_to_string(fixture).unwrap()).unwrap();
        assert_eq!(cases.len(), 10);
        let family = arch::by_checkpoint_class("LlamaForCausalLM").unwrap();
        for case in cases {
            let name = &case["name"];
            let config = Config::parse(Path::new("config.json"), &case["config"].to_string()).unwrap();
            let arch::Configured { spec, promises, .. } = family.configure(&config).unwrap();
            let slot = slots(&spec, &promises).into_iter().find(|slot| slot.id.role == Role::RopeFreqs);
            let divisors = match family.source_of(&spec, &config, &slot.unwrap()).unwrap() {
                None => None,
                Some(arch::Source::Computed(divisors)) => Some(divisors),
                Some(other) => panic!("{name}: divisors from {other:?}"),
            };
            let found = Frequencies::new(&spec.ropes[0], divisors.as_deref());
            let expected: Vec<f64> = serde_json::from_value(case["frequencies"].clone()).unwrap();
            assert_eq!(found.len(), expected.len(), "{name}");
            // Factors and divisors are stored as f32, whose rounding is a share of 6e-8.
            for (i, (found, expected)) in found.frequencies.iter().zip(&expected).enumerate() {
                let off = (found / expected - 1.0).abs();
                assert!(off < 1.5e-7, "{name}: frequency {i} is {found:e}, not {expected:e}");
            }
            let magnitude = case["magnitude"].as_f64().unwrap();
            assert!((found.magnitude / magnitude - 1.0).abs() < 1.5e-7, "{name}: {}", found.magnitude);
        }
    }
}
