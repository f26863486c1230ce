//! Folding: what AWQ (Lin et al. 2023) and SmoothQuant (Xiao et al. 2022) do before a model is quantised.
//!
//! Columns that see large inputs are multiplied, so that they get finer codes, and what makes these inputs is divided
//! by the same: the model computes what it did. Factors are powers of two: floats stay exact, and so the folded model,
//! before it is quantised, has the same outputs to the bit (but for what leaves the range of an f16).
//!
//! `sites` knows where that can be done, `choose` finds factors. What was found is kept beside the finished layers of a
//! calibration.

mod choose;
mod sites;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::options::{CalibrateOptions, key};
use crate::convert::plan::{Plan, PlanOptions};
use crate::convert::transform::Factors;
use crate::convert::{FileType, GgufInput, Progress, RunOptions, run};
use crate::error::{Error, Result};
use crate::gguf::GgufFile;
use crate::model::spec::ModelSpec;
use crate::new_file::NewFile;
use choose::choose;
pub use sites::Maker;
use sites::{Site, sites};

/// The files in the folder of a calibration that say what is folded and that are the folded model.
const FOLDING: &str = "folding.json";
const FOLDED: &str = "folded.gguf";

/// Powers of two that factors have at most, either way.
const MOST: i8 = 6;

/// Factors for the sites of a model where they win something.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Folding {
    /// Places that were tried.
    pub n_tried: usize,
    folded: Vec<Folded>,
}

/// A site and its factors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Folded {
    site: Site,
    /// `[n_factors]`: powers of two that columns are multiplied with.
    powers: Vec<i8>,
    /// The squared change of outputs, for inputs that were held out, without factors and with them.
    errors: (f64, f64),
}

/// What is kept of a folding.
#[derive(Deserialize, Serialize)]
struct Kept {
    key: String,
    folding: Folding,
}

impl Folding {
    /// Finds factors for what `plan` quantises, or what an earlier run found.
    ///
    /// # Errors
    /// As [`super::calibrate`].
    pub fn find(plan: &Plan<'_>, options: &CalibrateOptions<'_>, progress: &dyn Progress) -> Result<Self> {
        let (key, path) = (key(plan, options)?, options.folder.join(FOLDING));
        let kept = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        if let Some(kept) = kept.filter(|kept| kept.key == key && kept.folding.is_sound(plan)) {
            return Ok(kept.folding);
        }
        let folding = choose(plan, options, progress)?;
        // A folded model that is there beside factors is of these.
        Self::forget(options.folder)?;
        let kept = serde_json::to_vec(&Kept { key, folding: folding.clone() }).map_err(std::io::Error::from);
        let kept = kept.map_err(|e| Error::io(&path, "cannot describe", e))?;
        NewFile::write(path.clone(), &path, &kept, true)?;
        Ok(folding)
    }

    /// Whether its factors fit the tensors of `plan`: a file that was changed may say anything.
    fn is_sound(&self, plan: &Plan<'_>) -> bool {
        let has_factors = |Folded { site, powers, .. }: &Folded| {
            powers.len() == site.n_factors
                && powers.iter().all(|power| (-MOST..=MOST).contains(power))
                && site.factor_of.iter().all(|&factor| (factor as usize) < powers.len())
        };
        self.folded.iter().all(has_factors) && {
            let factors = self.factors();
            let mut sources = plan.sources().iter().enumerate();
            sources.all(|(i, source)| {
                let factors = factors.get(plan.files().tensor(i).name.as_str());
                factors.is_none_or(|factors| source.rows.takes(factors))
            })
        }
    }

    /// Removes what was found and written in `folder`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn forget(folder: &Path) -> Result<()> {
        for path in [FOLDING, FOLDED].map(|name| folder.join(name)) {
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io(&path, "cannot remove", e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Places that have factors, and what errors at these become on the average.
    pub fn won(&self) -> (usize, f64) {
        let logs: f64 = self.folded.iter().map(|folded| libm::log(folded.errors.1 / folded.errors.0)).sum();
        let n = self.folded.len();
        (n, libm::exp(logs / n.max(1) as f64))
    }

    /// A folding with factors of one's own at every site of a file that `has` tensors of these names: `power` has the
    /// powers of two, up to 6 either way, by the number of the site and of the factor.
    pub fn of_all_sites(
        spec: &ModelSpec,
        has: &dyn Fn(&str) -> bool,
        power: impl Fn(usize, usize) -> i8,
    ) -> Self {
        let of_layer = |i: usize| sites(i, &spec.layers[i], has);
        let folded = (0..spec.n_layer()).flat_map(of_layer).enumerate().map(|(s, site)| {
            let powers = (0..site.n_factors).map(|i| power(s, i).clamp(-MOST, MOST)).collect();
            Folded { powers, site, errors: (1.0, 1.0) }
        });
        let folded: Vec<Folded> = folded.collect();
        Self { n_tried: folded.len(), folded }
    }

    /// What made the inputs of the places that have factors.
    pub fn makers(&self) -> impl Iterator<Item = Maker> {
        self.folded.iter().map(|folded| folded.site.maker)
    }

    /// The factors of each tensor, by its name.
    fn factors(&self) -> HashMap<&str, Factors> {
        let mut all: HashMap<&str, Factors> = HashMap::new();
        for Folded { site, powers, .. } in &self.folded {
            let columns = site.factor_of.iter().map(|&i| power_of_two(powers[i as usize])).collect();
            let of_readers = Factors { columns, rows: Vec::new() };
            let divisors: Vec<f32> = powers.iter().map(|&power| power_of_two(-power)).collect();
            for name in &site.readers {
                all.entry(name).or_default().multiply(&of_readers);
            }
            for (name, is_rows) in &site.makers {
                let (rows, columns) =
                    if *is_rows { (divisors.clone(), Vec::new()) } else { (Vec::new(), divisors.clone()) };
                all.entry(name).or_default().multiply(&Factors { rows, columns });
            }
        }
        all
    }

    /// Writes the folded model of the file `reference` into `folder`, with floats as precise as they are there, unless
    /// it is there.
    ///
    /// # Errors
    /// As [`run`].
    pub fn write(
        &self,
        reference: &Path,
        folder: &Path,
        run_options: &RunOptions,
        progress: &dyn Progress,
    ) -> Result<PathBuf> {
        let input = GgufInput::open(reference)?;
        let is_float =
            input.tensors().all(|(tensor, _)| tensor.ty.block_type().is_none_or(|ty| ty.is_float()));
        let file_type = if is_float { FileType::KEEP } else { FileType::F32 };
        let mut plan = Plan::of_gguf(&input, &PlanOptions::new(file_type))?;
        plan.fold(self);
        let path = folder.join(FOLDED);
        if GgufFile::open(&path).is_err() {
            run(&plan, &path, &RunOptions { overwrite: true, ..*run_options }, progress)?;
        }
        Ok(path)
    }
}

impl Plan<'_> {
    /// Multiplies what the plan converts with the factors of a folding of the same model.
    pub fn fold(&mut self, folding: &Folding) {
        let factors = folding.factors();
        for i in 0..self.sources().len() {
            if let Some(factors) = factors.get(self.files().tensor(i).name.as_str()) {
                self.multiply(i, factors);
            }
        }
    }
}

/// `2^power`, exactly.
fn power_of_two(power: i8) -> f32 {
    f32::from_bits(((127 + i32::from(power)) as u32) << 23)
}
