//! The command line of `gguf-convert`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use gguf_simd::BlockType;
use regex::Regex;

use super::budget::BudgetArgs;
use super::key_args::KeyArgs;
use crate::checkpoint::Adapter;
use crate::cli::compute::ComputeArgs;
use crate::cli::hub;
use crate::cli::values::{Scaled, at_least_one, count, file_bytes, numbers, scaled};
use crate::convert::file_type::suggestion;
use crate::convert::{
    Answers, FileType, ImportanceFile, KeyChanges, Overrides, PlanOptions, Pruning, Setting,
    TokenizerDifferences,
};
use crate::error::{Error, Result};
use crate::hub::{HubName, RemoteCheckpoint, Wanted};
use crate::quantize::{ImportanceMatrix, ScaleSearch};
use crate::regular_file;

/// Bytes of a file of rules at most.
const MAX_RULE_BYTES: u64 = 16 << 20;

const TYPES: &str = "\
Types, from large to small (bits per weight of a Llama 8B):
  F32 32   F16 16   BF16 16   as they are, or nearly
  Q8_0 8.5   Q6_K 6.6         hardly told from the original
  Q5_K_M 5.7   Q5_K_S 5.6   Q5_1 6.0   Q5_0 5.5
  Q4_K_M 4.9   Q4_K_S 4.7   Q4_1 5.0   Q4_0 4.5   IQ4_NL 4.7   IQ4_XS 4.5
  Q3_K_L 4.3   Q3_K_M 4.0   Q3_K_S 3.6         where memory is short
  Q2_K 3.2   Q2_K_S 3.0                        visibly worse than the original
With --imatrix, the best that few bits give:
  IQ3_M 3.8   IQ3_S 3.6   IQ3_XS 3.5   IQ3_XXS 3.3   IQ2_M 2.9   IQ2_S 2.7   IQ2_XS 2.6   IQ2_XXS 2.4
  IQ1_M 2.1   IQ1_S 2.0
For models made for them:
  MXFP4_MOE   MXFP4 (4.25) for experts, Q8_0 for the rest
  NVFP4 4.7                   for models trained on its values
  Q2_0 2.7   TQ2_0 2.5   TQ1_0 2.2   Q1_0 1.7  for models trained on four, three or two values
For weights that are quantised already (GPTQ, AWQ, Marlin, HQQ, quanto, torchao, compressed-tensors, MLX, FP8, NF4, BitNet):
  KEEP  every tensor in the smallest type that holds its codes as they are; F16 where none does
Q4_K_M is a good first choice. Rows that do not divide into a type's blocks get the next wider type.

Examples:
  gguf-convert ./Llama-3.2-1B --type Q4_K_M
  gguf-convert ./Llama-3.2-1B --type Q4_K_M --dry-run
  gguf-convert hf:meta-llama/Llama-3.2-1B --type Q4_K_M
  gguf-convert model.safetensors --type Q8_0 -o model.gguf
  gguf-convert ./Mistral-7B --type Q4_K_S --tensor-type 'ffn_down=Q6_K' --output-tensor-type Q8_0
  gguf-convert ./Llama-3.2-1B --type Q4_K_M,Q6_K,Q8_0 -o models/
  gguf-convert ./Llama-3.2-1B --lora ./my-adapter --type Q4_K_M
  gguf-convert model-BF16.gguf --target-size 4GiB --sensitivity model.sensitivity.json
  gguf-convert model-BF16.gguf --type Q4_K_M
  gguf-convert edit model.gguf --override-kv tokenizer.chat_template=file:template.jinja";

/// Converts a Hugging Face checkpoint or a GGUF file to a GGUF file, quantised as it is written.
#[derive(Parser, Debug)]
#[command(name = "gguf-convert", version, after_help = TYPES, max_term_width = 110, args_override_self = true)]
pub(super) struct Args {
    /// The model: a checkpoint's folder, its .safetensors or PyTorch file (.bin, .pth), or their index; a GGUF file
    /// of any type, one or the first of several parts; or hf:ORG/NAME[@REVISION][:GGUF-FILE-OR-TYPE] for one of the
    /// Hugging Face Hub, which is downloaded into HF_HOME's cache
    pub(super) input: PathBuf,
    /// Type of the file, in any letter case; of several, as in Q4_K_M,Q8_0, a file each, from one reading of the input
    /// [default: KEEP for weights that are quantised already]
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub(super) file_types: Vec<FileType>,
    /// The GGUF file to write, with {type} in its name where there are several, or the folder for it
    /// [default: <name of the checkpoint's folder>-<TYPE>.gguf, here]
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Split the model into files of at most SIZE bytes, as in 4G, called <name>-00001-of-00003.gguf and so on
    #[arg(long, value_name = "SIZE", value_parser = file_bytes)]
    split_max_size: Option<u64>,
    /// Write a model card beside the files, README.md: what they are made of, types, sizes, errors, the command, and how
    /// to run them
    #[arg(long, conflicts_with = "adapter_only")]
    pub(super) model_card: bool,
    /// Show the plan, tensor by tensor, and write nothing; of a checkpoint of the hub only the headers of its weights are
    /// read
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Read the weights of a checkpoint of the hub as they are needed and keep no copy of them, where the disk has no
    /// room for one; their lengths are checked, not their hashes
    #[arg(long)]
    pub(super) stream: bool,
    /// What stays on the hub of a checkpoint, for a dry run and where it is streamed.
    #[arg(skip)]
    pub(super) look: Option<RemoteCheckpoint>,
    /// Replace an existing file
    #[arg(short, long)]
    pub(super) force: bool,
    /// Measure the finished file: decode every tensor as it is on disk, compare it with the source, and keep the errors and
    /// a hash of each tensor in the file, for `gguf-run inspect --verify`
    #[arg(long, conflicts_with = "adapter_only")]
    verify: bool,
    /// Keep what is done when the conversion is stopped or killed, under hidden names beside the output; the same
    /// command then goes on with it [default: for files of 1 GiB and more]
    #[arg(long)]
    pub(super) resumable: bool,
    /// Show neither progress nor summary
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Print the summary, or the plan of a dry run, as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// The model's name in the file [default: from the model card, config.json or the folder]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Leave out tensors of the input whose name matches REGEX; repeatable
    #[arg(long = "ignore-tensor", value_name = "REGEX", value_parser = pattern)]
    ignored: Vec<Regex>,
    /// Leave out layers, counted from 0, as in 20,21 or 20-23; those behind them get new numbers. To
    /// calibrate such a model, convert it first, and calibrate that file
    #[arg(long = "prune-layers", value_name = "LAYERS", value_parser = layers, conflicts_with_all = ["adapter_only", "texts"])]
    pruned: Option<Pruning>,
    /// Make a rerank model of a decoder: its score is how probable it answers YES rather than NO, two tokens as its
    /// vocabulary spells them [default: yes,no; not needed for Qwen3-Reranker, nor for classes of their own]
    #[arg(long, value_name = "YES,NO", num_args = 0..=1, default_missing_value = "yes,no", require_equals = true, conflicts_with = "adapter_only")]
    reranker: Option<Answers>,
    /// Give tensors whose GGUF name matches REGEX this type; repeatable, first match wins
    #[arg(long = "tensor-type", value_name = "REGEX=TYPE", value_parser = tensor_type, help_heading = "Types of single tensors")]
    tensor_types: Vec<(Regex, BlockType)>,
    /// Type of the output matrix, and of the embedding where the two are tied
    #[arg(long, value_name = "TYPE", value_parser = block_type, help_heading = "Types of single tensors")]
    output_tensor_type: Option<BlockType>,
    /// Type of the token embedding
    #[arg(long, value_name = "TYPE", value_parser = block_type, help_heading = "Types of single tensors")]
    token_embedding_type: Option<BlockType>,
    /// Take rules from a file, one REGEX=TYPE in a line, behind those of --tensor-type
    #[arg(long, value_name = "FILE", help_heading = "Types of single tensors")]
    tensor_type_file: Option<PathBuf>,
    /// Give every quantised tensor the same type, without the usual mixture
    #[arg(long, help_heading = "Types of single tensors")]
    pure: bool,
    /// Merge a PEFT adapter (LoRA, rsLoRA, DoRA) into the model, SCALE times [default: 1]; repeatable
    #[arg(long, value_name = "DIR[:SCALE]", value_parser = scaled)]
    lora: Vec<Scaled>,
    /// Write the adapter that --lora names as a GGUF file of its own, for `gguf-run --lora` and others
    #[arg(long, requires = "lora")]
    pub(super) adapter_only: bool,
    /// Spend bits on the columns that count, by an importance matrix (gguf-run imatrix, or llama-imatrix's file)
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,
    /// How the scales of blocks are found, for those who study it: mse (least squared error), min-max (the extremes of a
    /// block), percentile[:P] (the same, with magnitudes above the P-th percentile of a row clipped), or kl (the same,
    /// with the limit for which the histogram of a row's magnitudes diverges least)
    #[arg(long, value_name = "SEARCH", default_value_t, conflicts_with_all = ["texts", "budget"])]
    scale_search: ScaleSearch,
    #[command(flatten)]
    pub(super) calibrate: CalibrateArgs,
    /// Convert even if the file's tokenizer reads texts otherwise than the checkpoint's own
    #[arg(long)]
    accept_tokenizer_differences: bool,
    #[command(flatten)]
    pub(super) budget: BudgetArgs,
    #[command(flatten)]
    keys: KeyArgs,
    /// Set metadata keys from a JSON file, as in {"general.name": "My model", "general.tags": ["a", "b"]}; --override-kv
    /// comes after it
    #[arg(long, value_name = "FILE", help_heading = "Metadata")]
    metadata: Option<PathBuf>,
    /// Of a GGUF file: keep the keys that say how it was quantised as well
    #[arg(long, help_heading = "Metadata")]
    keep_metadata: bool,
    #[command(flatten)]
    pub(super) compute: ComputeArgs,
}

/// How to calibrate.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Calibration")]
pub(super) struct CalibrateArgs {
    /// Choose codes by what the layers really compute on these texts; slow, and as good as half a bit or a bit more. A
    /// .jsonl file has a conversation in each line, {"messages": [{"role": ..., "content": ...}, ...]}, and is read
    /// through the model's chat template [without a text: a mixed one that ships with the program]
    #[arg(long = "calibrate", value_name = "TEXT", num_args = 0.., conflicts_with = "imatrix")]
    pub(super) texts: Option<Vec<PathBuf>>,
    /// Before that, multiply columns that see large inputs, and divide what makes these (norms, values, up projections) by
    /// the same, where it saves errors (AWQ, SmoothQuant): the model stays the same, and any program runs the file
    #[arg(long, requires = "texts")]
    pub(super) fold: bool,
    /// Keep the nearest codes: weigh columns by their inputs (and fold, with --fold), and choose no codes
    #[arg(long, requires = "texts")]
    pub(super) nearest_codes: bool,
    /// Tokens in a chunk of text
    #[arg(long = "calibration-ctx", value_name = "N", default_value_t = 512, value_parser = count, requires = "texts")]
    pub(super) ctx: usize,
    /// Read only the first N chunks of each text [default: all]
    #[arg(long = "calibration-chunks", value_name = "N", value_parser = at_least_one, requires = "texts")]
    pub(super) chunks: Option<usize>,
}

impl Args {
    /// What the plan of each file needs of them; of several types the tokenizer is compared once.
    ///
    /// # Errors
    /// [`Error::Usage`] for an empty name, or a type that comes twice; as [`ImportanceMatrix::open`].
    pub(super) fn plan_options(&self) -> Result<Vec<PlanOptions>> {
        let first = self.first_plan_options()?;
        if self.budget.is_given() {
            return Ok(vec![first]);
        }
        let mut all: Vec<PlanOptions> = Vec::new();
        // An adapter is small, and what it adds is smaller than what it is added to.
        let default = [if self.adapter_only { FileType::F32 } else { FileType::KEEP }];
        let types = if self.file_types.is_empty() { &default } else { &self.file_types[..] };
        for &file_type in types {
            if all.iter().any(|options| options.file_type == file_type) {
                return Err(Error::usage(format!("--type names {file_type} twice")));
            }
            let tokenizer_differences = match all.len() {
                0 => first.tokenizer_differences,
                _ => TokenizerDifferences::Unchecked,
            };
            all.push(PlanOptions { file_type, tokenizer_differences, ..first.clone() });
        }
        Ok(all)
    }

    /// Downloads what is named by its repository on the hub; the paths then are those of the files.
    ///
    /// # Errors
    /// As [`hub::local`].
    pub(super) fn fetch(&mut self) -> Result<()> {
        if self.stream && HubName::of(&self.input)?.is_none_or(|name| name.file().is_some()) {
            return Err(Error::usage(format!(
                "--stream is for checkpoints of the hub, as in hf:ORG/NAME, and {} is none",
                self.input.display()
            )));
        }
        if (self.dry_run || self.stream)
            && let Some(look) = hub::look(&self.input, self.quiet)?
        {
            look.folder().clone_into(&mut self.input);
            self.look = Some(look);
        }
        self.input = hub::local(&self.input, Wanted::Model, self.quiet)?;
        for Scaled { path, .. } in &mut self.lora {
            *path = hub::local(path, Wanted::Adapter, self.quiet)?;
        }
        Ok(())
    }

    /// The adapters to merge.
    ///
    /// # Errors
    /// As [`Adapter::open`].
    pub(super) fn adapters(&self) -> Result<Vec<Adapter>> {
        self.lora.iter().map(|Scaled { path, scale }| Adapter::open(path, *scale)).collect()
    }

    /// Whether keys or tensors of a model are others than its family's rules make them.
    pub(super) fn changes_model(&self) -> bool {
        let changes = !self.keys.changes().is_empty() || self.metadata.is_some() || !self.ignored.is_empty();
        changes && !self.adapter_only
    }

    /// What is read beside the model.
    pub(super) fn side_inputs(&self) -> impl Iterator<Item = &Path> {
        let texts = self.calibrate.texts.iter().flatten();
        let files = [&self.imatrix, &self.tensor_type_file, &self.metadata].into_iter().flatten();
        texts.chain(files).map(PathBuf::as_path).chain(self.budget.sensitivity())
    }

    fn first_plan_options(&self) -> Result<PlanOptions> {
        if self.name.as_deref().is_some_and(|name| name.trim().is_empty()) {
            return Err(Error::usage("--name is empty; give a name, or leave the flag out"));
        }
        let mut tensors = self.tensor_types.clone();
        if let Some(path) = &self.tensor_type_file {
            tensors.extend(rules_of(path)?);
        }
        let overrides = Overrides {
            tensors,
            output: self.output_tensor_type,
            token_embd: self.token_embedding_type,
            pure: self.pure,
        };
        let (name, ignored) = (self.name.clone(), self.ignored.clone());
        let tokenizer_differences = if self.accept_tokenizer_differences {
            TokenizerDifferences::Accepted
        } else {
            TokenizerDifferences::Refused
        };
        let mut keys = KeyChanges { keeps_all: self.keep_metadata, ..self.keys.changes() };
        if let Some(path) = &self.metadata {
            keys.set.splice(0..0, Setting::read_all(path)?);
        }
        let importance = self.imatrix.as_ref().map(|path| {
            let matrix = Arc::new(ImportanceMatrix::open(path)?);
            Ok::<_, Error>(ImportanceFile { path: path.clone(), matrix })
        });
        Ok(PlanOptions {
            overrides,
            name,
            ignored,
            tokenizer_differences,
            keys,
            importance: importance.transpose()?,
            is_calibrated: self.calibrate.texts.is_some(),
            scale_search: self.scale_search,
            max_file_bytes: self.split_max_size,
            is_proved: self.verify,
            pruned: self.pruned.clone().unwrap_or_default(),
            answers: self.reranker.clone(),
            ..PlanOptions::new(FileType::Q4_K_M)
        })
    }
}

fn pattern(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|e| e.to_string())
}

fn layers(text: &str) -> Result<Pruning, String> {
    numbers(text).map(Pruning::new)
}

fn block_type(name: &str) -> Result<BlockType, String> {
    let all = || BlockType::all().map(BlockType::name).collect::<Vec<_>>();
    match BlockType::from_name(name) {
        Some(ty) => Ok(ty),
        None => Err(format!("unknown tensor type {name}; {}", suggestion(name, &all()))),
    }
}

/// `REGEX=TYPE`; the type comes after the last `=`.
fn tensor_type(rule: &str) -> Result<(Regex, BlockType), String> {
    let (pattern, ty) = rule.rsplit_once('=').ok_or("REGEX=TYPE is needed, as in 'ffn_down=Q6_K'")?;
    Ok((self::pattern(pattern)?, block_type(ty)?))
}

/// The rules in a file; empty lines and those that begin with # are passed over.
fn rules_of(path: &Path) -> Result<Vec<(Regex, BlockType)>> {
    let bytes = regular_file::read(path, MAX_RULE_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|_| Error::malformed(path, "it is not UTF-8 text"))?;
    let lines = text.lines().zip(1..).map(|(line, number)| (line.trim(), number));
    let rules = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    rules
        .map(|(line, number)| {
            tensor_type(line).map_err(|what| Error::malformed(path, format!("line {number}: {what}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::try_parse_from(line.split(' ')).map_err(|e| e.to_string())
    }

    #[test]
    fn rules_keep_their_order_and_split_at_the_last_equals_sign() {
        let args = parse("gguf-convert m --type q4_k_m --tensor-type a=b=q6_k --tensor-type ^x$=F16")
            .expect("sound");
        let [options] = args.plan_options().expect("sound").try_into().expect("one type");
        let rules: Vec<(&str, BlockType)> =
            options.overrides.tensors.iter().map(|(name, ty)| (name.as_str(), *ty)).collect();
        assert_eq!(rules, [("a=b", BlockType::Q6_K), ("^x$", BlockType::F16)]);
        assert_eq!(options.file_type, FileType::Q4_K_M);
    }

    #[test]
    fn slips_are_answered_with_what_there_is() {
        let error = parse("gguf-convert m --type Q4KM").expect_err("no such type");
        assert!(error.contains("did you mean Q4_K_M?") && error.contains("Q5_1"), "{error}");
        let error = parse("gguf-convert m --type Q8_0 --tensor-type x=Q4_K_M").expect_err("a file type");
        assert!(error.contains("unknown tensor type Q4_K_M") && error.contains("Q4_K,"), "{error}");
        let error = parse("gguf-convert m --type Q8_0 --tensor-type Q4_K").expect_err("no pattern");
        assert!(error.contains("REGEX=TYPE"), "{error}");
        let error = parse("gguf-convert m --type Q8_0,q8_0").expect("types").plan_options();
        assert!(error.expect_err("twice").to_string().contains("Q8_0 twice"));
        let error = parse("gguf-convert m --type Q8_0 --split-max-size 4X").expect_err("no size");
        assert!(error.contains("as in 4G"), "{error}");
        let default = parse("gguf-convert m").expect("sound").plan_options().expect("sound");
        assert_eq!(default[0].file_type, FileType::KEEP);
    }
}
