//! Encodes rows of floats from standard input into blocks on standard output.
//!
//! `encode TYPE N_IN [--importance FILE] [--isa NAME] [--rounds N] < rows.f32 > blocks`: `rows.f32` holds
//! little-endian f32 rows of `N_IN`, the importance file one such row. Without importance short rows are
//! encoded several at a time, as a conversion does. The speed, of the median round,
//! goes to standard error.
//! `tools/peer/encode_error.py` compares encoders with it.

use std::error::Error;
use std::io::{Read, Write};
use std::time::Instant;

use gguf_simd::{BlockType, Isa, Kernels};

const USAGE: &str = "usage: encode TYPE N_IN [--importance FILE] [--isa NAME] [--rounds N]";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or(USAGE)?;
    let ty = BlockType::from_name(&name);
    let ty = ty.ok_or_else(|| format!("{name} is not a block type"))?;
    let n_in: usize = arguments.next().ok_or("the row length N_IN is missing")?.parse()?;
    let (mut importance, mut kernels, mut rounds) = (None, None, 1usize);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--importance" => importance = Some(floats(&std::fs::read(value)?)),
            "--isa" => {
                let isa = Isa::from_name(&value).ok_or_else(|| format!("{value} is not a tier"))?;
                kernels = Some(Kernels::get(isa).ok_or_else(|| format!("this CPU lacks {isa}"))?);
            }
            "--rounds" => rounds = value.parse()?,
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    let kernels = kernels.unwrap_or_else(Kernels::best);
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    let rows = floats(&bytes);
    let row_bytes = ty.row_bytes(n_in).ok_or_else(|| format!("rows of {n_in} are not blocks of {ty}"))?;
    let mut blocks = vec![0; rows.len() / n_in * row_bytes];
    let mut seconds = Vec::new();
    for _ in 0..rounds.max(1) {
        let start = Instant::now();
        let most = if importance.is_none() { (4096 / n_in).max(1) } else { 1 };
        for (rows, out) in rows.chunks(most * n_in).zip(blocks.chunks_mut(most * row_bytes)) {
            kernels.encode(ty, rows, importance.as_deref(), out);
        }
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let rate = rows.len() as f64 / seconds[seconds.len() / 2] / 1e6;
    eprintln!("{ty} {}: {rate:.1} million weights/s", kernels.isa());
    std::io::stdout().lock().write_all(&blocks)?;
    Ok(())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}
