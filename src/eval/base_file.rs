//! Files of a model's predictions of a text, as llama-perplexity writes them with `--kl-divergence-base`.
//!
//! ```text
//! "_logits_", then i32s: n_ctx, n_vocab, n_chunks, and the n_chunks * n_ctx tokens of the text
//! for each chunk, for each position that is scored: f32 step, f32 least, u16 codes: [n_vocab, one more if odd]
//! ```
//!
//! The log-probability of a token is `least + step * code`. What the model gives less than e^-16 of the likeliest
//! token's probability is raised to that, so that 16 bits are enough.

use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::chunks::Chunks;
use super::distribution::Distribution;
use crate::error::{Error, Result};
use crate::new_file::NewFile;
use crate::read_file::ReadFile;

/// What such a file begins with.
const MAGIC: [u8; 8] = *b"_logits_";

/// Bytes before the tokens.
const HEAD_BYTES: u64 = 20;

/// Logits further below the greatest are raised to it.
const DEPTH: f32 = 16.0;

/// Tokens of a vocabulary, and tokens of a text, at most: no model has as many.
const MOST: u64 = 1 << 30;

/// Bytes of the predictions at a position.
fn row_bytes(n_vocab: usize) -> usize {
    size_of::<u16>() * (n_vocab.next_multiple_of(2) + 4)
}

/// A file that predictions are read from.
#[derive(Debug)]
pub struct BaseFile {
    file: ReadFile,
    n_ctx: usize,
    n_vocab: usize,
    tokens: Vec<u32>,
}

impl BaseFile {
    /// Whether the file at `path` begins as such a file does.
    pub fn is_at(path: &Path) -> bool {
        let mut start = [0; MAGIC.len()];
        path.is_file()
            && ReadFile::open(path).is_ok_and(|file| file.read_at(0, &mut start).is_ok() && start == MAGIC)
    }

    /// Opens the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] if it is not such a file, or not whole.
    pub fn open(path: &Path) -> Result<Self> {
        let file = ReadFile::open(path)?;
        let wrong = |what: String| Error::malformed(path, what);
        let mut head = [0; HEAD_BYTES as usize];
        if file.n_bytes() < HEAD_BYTES {
            return Err(wrong("it ends before its head does; write it again".into()));
        }
        file.read_at(0, &mut head)?;
        let (magic, numbers) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(wrong(
                "it is not a file of predictions; gguf-run perplexity --save-base writes one".into(),
            ));
        }
        let number = |i: usize| i32::from_le_bytes(numbers.as_chunks::<4>().0[i]);
        let [n_ctx, n_vocab, n_chunks] =
            [number(0), number(1), number(2)].map(|n| u64::try_from(n).unwrap_or(0));
        let n_tokens = n_ctx.saturating_mul(n_chunks);
        if n_ctx < 4 || n_vocab == 0 || n_vocab > MOST || n_tokens == 0 || n_tokens > MOST {
            let what = format!("{n_chunks} chunks of {n_ctx} tokens, {n_vocab} in the vocabulary, cannot be");
            return Err(wrong(format!("{what}; write it again")));
        }
        let (n_ctx, n_vocab) = (n_ctx as usize, n_vocab as usize);
        let n_scored = n_chunks * scored(n_ctx).len() as u64;
        let needed = HEAD_BYTES + 4 * n_tokens + n_scored * row_bytes(n_vocab) as u64;
        if file.n_bytes() != needed {
            let what = format!("it has {} bytes and its head asks for {needed}", file.n_bytes());
            return Err(wrong(format!("{what}: it was cut off, or written otherwise; write it again")));
        }
        let mut bytes = vec![0; 4 * n_tokens as usize];
        file.read_at(HEAD_BYTES, &mut bytes)?;
        let tokens: Vec<u32> = bytes.as_chunks().0.iter().map(|id| u32::from_le_bytes(*id)).collect();
        match tokens.iter().find(|&&id| id as usize >= n_vocab) {
            Some(id) => {
                Err(wrong(format!("token {id} is beyond its vocabulary of {n_vocab}; write it again")))
            }
            None => Ok(Self { file, n_ctx, n_vocab, tokens }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Tokens of its vocabulary.
    pub fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    /// The chunks of its text; `first_token` replaces the first of each, as it did for the model.
    ///
    /// # Errors
    /// [`Error::Usage`] if they are too short to score.
    pub fn chunks(&self, first_token: Option<u32>) -> Result<Chunks> {
        Chunks::of_whole(self.tokens.clone(), self.n_ctx, first_token)
    }

    /// The log-probabilities at position `position` of chunk `chunk`, of those scored, into `out: [n_vocab]`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] for what is not a number.
    ///
    /// # Panics
    /// If there is no such chunk or position, or `out` has another length.
    pub fn read(
        &self,
        (chunk, position): (usize, usize),
        bytes: &mut Vec<u8>,
        out: &mut [f32],
    ) -> Result<()> {
        let scored = scored(self.n_ctx);
        assert!(
            scored.contains(&position) && chunk < self.tokens.len() / self.n_ctx && out.len() == self.n_vocab
        );
        let row = chunk * scored.len() + position - scored.start;
        bytes.resize(row_bytes(self.n_vocab), 0);
        let start = HEAD_BYTES + 4 * self.tokens.len() as u64;
        self.file.read_at(start + (row * bytes.len()) as u64, bytes)?;
        let (numbers, codes) = bytes.split_at(8);
        let [step, least] = [0, 1].map(|i| f32::from_le_bytes(numbers.as_chunks::<4>().0[i]));
        if !step.is_finite() || !least.is_finite() || step < 0.0 {
            let what = "its predictions are not numbers; write it again, with a sound model";
            return Err(Error::malformed(self.path(), what));
        }
        for (out, code) in out.iter_mut().zip(codes.as_chunks().0) {
            *out = step * f32::from(u16::from_le_bytes(*code)) + least;
        }
        Ok(())
    }
}

/// The positions that are scored, as [`Chunks::scored`] has them.
fn scored(n_ctx: usize) -> Range<usize> {
    n_ctx / 2..n_ctx - 1
}

/// A file that predictions are written to.
#[derive(Debug)]
pub struct BaseFileWriter {
    path: PathBuf,
    file: NewFile,
    n_left: usize,
    bytes: Vec<u8>,
}

impl BaseFileWriter {
    /// Begins the file at `path`, whose partial file lies beside `target`, for predictions of `chunks`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Limit`] for numbers beyond the format.
    pub fn create(path: &Path, target: PathBuf, chunks: &Chunks, n_vocab: usize) -> Result<Self> {
        let n_left = chunks.n_chunks() * chunks.scored().len();
        let file = NewFile::create(target)?;
        let mut new = Self { path: path.to_owned(), file, n_left, bytes: Vec::new() };
        new.bytes.extend_from_slice(&MAGIC);
        for number in [chunks.n_ctx(), n_vocab, chunks.n_chunks()] {
            let number = i32::try_from(number);
            let number =
                number.map_err(|_| Error::limit("the text is too long for a file of predictions"))?;
            new.bytes.extend_from_slice(&number.to_le_bytes());
        }
        new.bytes.extend(chunks.tokens().iter().flat_map(|id| id.to_le_bytes()));
        new.flush()?;
        Ok(new)
    }

    /// Adds the predictions at the next position.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn push(&mut self, row: &Distribution<'_>) -> Result<()> {
        let logits = row.logits();
        let max = logits[row.top()];
        let min = logits.iter().copied().fold(max, f32::min).max(max - DEPTH);
        let step = (max - min) / 65535.0;
        let least = (f64::from(min) - f64::from(max) - row.ln_sum()) as f32;
        self.bytes.extend([step, least].iter().flat_map(|number| number.to_le_bytes()));
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        self.bytes.extend(logits.iter().flat_map(|logit| {
            let code = (inverse * (logit.max(min) - min)).round_ties_even();
            (code as u16).to_le_bytes()
        }));
        self.bytes.resize(row_bytes(logits.len()), 0);
        self.n_left -= 1;
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.file.file().write_all(&self.bytes);
        self.bytes.clear();
        written.map_err(|e| Error::io(&self.path, "cannot write", e))
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// [`Error::Io`].
    ///
    /// # Panics
    /// If positions are missing.
    pub fn finish(self, overwrite: bool) -> Result<()> {
        assert_eq!(self.n_left, 0, "every position has predictions");
        self.file.finish(overwrite).map(drop).map_err(|e| Error::io(&self.path, "cannot finish", e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes two chunks of eight tokens, of a vocabulary of three, and returns the path.
    fn written(folder: &Path) -> PathBuf {
        let path = folder.join("base");
        let tokens = (0..16).map(|i| i % 3).collect();
        let chunks = Chunks::of_whole(tokens, 8, None).expect("chunks");
        let mut writer = BaseFileWriter::create(&path, path.clone(), &chunks, 3).expect("a file");
        for i in 0..2 * chunks.scored().len() {
            let row = [0.0, -1.0 - i as f32, f32::NEG_INFINITY];
            writer.push(&Distribution::new(&row).expect("logits")).expect("written");
        }
        writer.finish(false).expect("finished");
        path
    }

    #[test]
    fn what_is_written_is_read_again_within_the_steps_of_its_codes() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = BaseFile::open(&written(folder.path())).expect("whole");
        assert_eq!(
            (file.n_vocab(), file.chunks(Some(2)).expect("chunks").chunk(1)[..2].to_vec()),
            (3, vec![2, 0])
        );
        let (mut bytes, mut row) = (Vec::new(), [0.0; 3]);
        for (chunk, position, i) in [(0, 4, 0), (0, 6, 2), (1, 5, 4)] {
            file.read((chunk, position), &mut bytes, &mut row).expect("a row");
            let logit = -1.0 - i as f32;
            let ln_sum = (1.0 + logit.exp()).ln();
            let step = 16.0 / 65535.0;
            for (found, expected) in row.iter().zip([-ln_sum, logit - ln_sum, -16.0 - ln_sum]) {
                assert!((found - expected).abs() <= step, "{row:?}");
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let folder = tempfile::tempdir().expect("a folder");
        let bytes = std::fs::read(written(folder.path())).expect("a file");
        // Rows of four codes, the last of which is a filler, behind two floats.
        assert_eq!(bytes.len(), 20 + 16 * 4 + 6 * 16);
        assert_eq!(bytes[..20], *b"_logits_\x08\0\0\0\x03\0\0\0\x02\0\0\0");
        let codes: Vec<u16> =
            bytes[84 + 8..84 + 16].as_chunks().0.iter().map(|code| u16::from_le_bytes(*code)).collect();
        // 15/16 of 65535 is 61439.06.
        assert_eq!(codes, [65535, 61439, 0, 0]);
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = written(folder.path());
        let whole = std::fs::read(&path).expect("a file");
        assert!(BaseFile::is_at(&path) && !BaseFile::is_at(folder.path()));
        let mut beyond = whole.clone();
        beyond[20] = 3;
        let mut negative = whole.clone();
        negative[15] = 0xff;
        for (bytes, reason) in [
            (&whole[..10], "ends before"),
            (&whole[..whole.len() - 1], "cut off"),
            (&beyond, "token 3"),
            (&negative, "cannot be"),
        ] {
            std::fs::write(&path, bytes).expect("writable");
            let error = BaseFile::open(&path).expect_err("damaged").to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
