//! Attention over latent vectors (DeepSeek-AI 2024, "DeepSeek-V2", sections 2.1.2 and 2.1.3).
//!
//! Of a position one vector is cached that all heads share: a latent one, normed, and a key that is rotated.
//! A head's own keys and values are products of the latent vector, and these products are not computed:
//!
//! ```text
//! (K_h c) . q = c . (K_h^T q)          sum_j w_j (V_h c_j) = V_h (sum_j w_j c_j)
//! ```
//!
//! So queries go through `K_h^T` first and meet the latent vectors themselves, which are the values too, and
//! the sums go through `V_h`: attention with one key-value head that all queries share.

use gguf_simd::Kernels;
use gguf_simd::attention::CHUNK;

use super::rotate::{rotate, temperature};
use super::{AttentionScratch, Needs, Rows, gate_elements, gate_heads, heads, sigmoid};
use crate::error::Result;
use crate::model::batch::{BatchPart, Run};
use crate::model::compute::{Compute, RowsMut, pieces, pieces_of};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::norm::{Norm, norm_into};
use crate::model::layer::stream::{Residual, Stream};
use crate::model::memory::Buffers;
use crate::model::product::Product;
use crate::model::rope::Angles;
use crate::model::spec::layer::{AttentionGate, AttentionSpec, MlaSpec, RopeUse};
use crate::model::state::kv::HeadMut;
use crate::model::weights::{Linear, Matrix, Stack};

/// Attention over latent vectors.
#[derive(Debug)]
pub(in crate::model) struct Mla {
    pub(in crate::model) spec: MlaSpec,
    /// The attention that is left after products were moved.
    pub(in crate::model) core: AttentionSpec,
    /// `[q_lora_rank, n_embd]` and its norm, if queries are made from a vector of that rank.
    pub(in crate::model) q_a: Option<(Linear, Norm)>,
    /// `[n_head * (head_dim_nope + n_rot), q_lora_rank or n_embd]`.
    pub(in crate::model) q: Linear,
    /// `[kv_lora_rank + n_rot, n_embd]`.
    pub(in crate::model) kv_a: Linear,
    /// `[kv_lora_rank]`.
    pub(in crate::model) kv_norm: Norm,
    /// `[n_rot]`: of keys before they are rotated.
    pub(in crate::model) key_norm: Option<Norm>,
    /// `[n_head, kv_lora_rank, head_dim_nope]`.
    pub(in crate::model) k_b: Stack,
    /// `[n_head, head_dim_v, kv_lora_rank]`.
    pub(in crate::model) v_b: Stack,
    /// `[n_head]`.
    pub(in crate::model) sinks: Option<Vec<f32>>,
    /// `[n_head, n_embd]` or `[n_head * head_dim_v, n_embd]`.
    pub(in crate::model) gate: Option<Linear>,
    /// `[n_embd, n_head * head_dim_v]`.
    pub(in crate::model) output: Linear,
}

/// The buffers of attention over latent vectors.
#[derive(Debug)]
pub(in crate::model) struct MlaScratch {
    /// `[n_batch, kv_lora_rank + n_rot]`.
    kv: Vec<f32>,
    /// `[n_batch, q_lora_rank]`.
    q_a: Vec<f32>,
    /// `[n_batch, q_lora_rank]`: normed.
    q_input: Inputs,
    /// `[n_batch, n_head * (head_dim_nope + n_rot)]`.
    q: Vec<f32>,
    /// `[n_head, n_batch, head_dim_nope]`.
    nope: Inputs,
    /// `[n_head, n_batch, kv_lora_rank]`: queries for latent vectors.
    absorbed: Vec<f32>,
    /// `[n_head, n_batch, kv_lora_rank]`: sums of latent vectors.
    latent: Inputs,
    /// `[n_head, n_batch, head_dim_v]`.
    values: Vec<f32>,
    /// `[n_batch, n_head]` or `[n_batch, n_head * head_dim_v]`: what gates the values.
    gate: Vec<f32>,
    /// `[n_batch, n_head * head_dim_v]`.
    heads: Inputs,
}

impl MlaScratch {
    /// Buffers for batches of `n_batch` tokens in any of `parts`; `None` without parts.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub(in crate::model) fn new(
        buffers: &mut Buffers,
        parts: &[&Mla],
        n_batch: usize,
    ) -> Result<Option<Self>> {
        if parts.is_empty() {
            return Ok(None);
        }
        let most =
            |of: &dyn Fn(&MlaSpec) -> usize| parts.iter().map(|part| of(&part.spec)).max().unwrap_or(0);
        let of = |matrix: &dyn Fn(&Mla) -> &Matrix| -> Formats {
            parts.iter().map(|part| Formats::of([matrix(part)])).fold(Formats::default(), Formats::union)
        };
        let (n_head, q_rank) = (most(&|spec| spec.n_head), most(&|spec| spec.q_lora_rank.unwrap_or(0)));
        let (nope, rank) = (most(&|spec| spec.head_dim_nope), most(&|spec| spec.kv_lora_rank));
        let n_out = most(&MlaSpec::n_embd_out);
        Ok(Some(Self {
            kv: buffers.zeroed(0.0, n_batch, most(&MlaSpec::n_cached))?,
            q_a: buffers.zeroed(0.0, n_batch, q_rank)?,
            q_input: Inputs::new(buffers, n_batch, q_rank, of(&|part: &Mla| &part.q.matrix))?,
            q: buffers.zeroed(0.0, n_batch, most(&|spec| spec.n_head * spec.head_dim_k()))?,
            nope: Inputs::new(buffers, n_head * n_batch, nope, of(&|part| &part.k_b.matrix))?,
            absorbed: buffers.zeroed(0.0, n_head * n_batch, rank)?,
            latent: Inputs::new(buffers, n_head * n_batch, rank, of(&|part| &part.v_b.matrix))?,
            values: buffers.zeroed(0.0, n_batch, n_out)?,
            gate: buffers.zeroed(0.0, n_batch, most(&MlaSpec::n_gate))?,
            heads: Inputs::new(buffers, n_batch, n_out, of(&|part| &part.output.matrix))?,
        }))
    }

    /// Gives the rows of inputs the lengths that a layer has.
    fn fit(&mut self, spec: &MlaSpec) {
        self.q_input.set_n_in(spec.q_lora_rank.unwrap_or(0));
        self.nope.set_n_in(spec.head_dim_nope);
        self.latent.set_n_in(spec.kv_lora_rank);
        self.heads.set_n_in(spec.n_embd_out());
    }
}

impl Mla {
    /// The formats its input is needed in.
    pub(in crate::model) fn input_formats(&self) -> Formats {
        let q = self.q_a.as_ref().map_or(&self.q, |(linear, _)| linear);
        Formats::of([q, &self.kv_a].into_iter().chain(&self.gate).map(|linear| &linear.matrix))
    }

    /// What it needs buffers for.
    pub(in crate::model) fn needs(&self) -> Needs<'_> {
        Needs { spec: &self.core, output: None, n_gate: 0 }
    }

    /// Its matrices.
    pub(in crate::model) fn matrices(&self) -> Vec<&Matrix> {
        let linears = [&self.q, &self.kv_a, &self.output].map(|linear| &linear.matrix);
        let q_a = self.q_a.as_ref().map(|(linear, _)| &linear.matrix);
        let gate = self.gate.as_ref().map(|linear| &linear.matrix);
        q_a.into_iter().chain(linears).chain(gate).chain([&self.k_b.matrix, &self.v_b.matrix]).collect()
    }

    /// Appends what is cached of `rows`, adds the output of attention for them to `stream` as `residual`
    /// says, or does both. `input` holds the normed rows.
    pub(in crate::model) fn step<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        input: &Inputs,
        (scratch, own): (&mut AttentionScratch, &mut MlaScratch),
        (residual, stream): (&Residual, &mut Stream),
    ) {
        let n = rows.batch.n();
        let (n_keys, n_queries) = rows.does.rows(n);
        own.fit(&self.spec);
        self.project(compute, input, (n_keys, n_queries), own);
        self.absorb(compute, n_queries, own);
        self.place(compute, rows, (n_keys, n_queries), (scratch, own));
        if n_queries == 0 {
            return;
        }
        scratch.heads.set_n_in(self.core.n_embd_out());
        let of_heads = heads::OfHeads { sinks: self.sinks.as_deref(), slopes: None, relative: None };
        heads::attend(compute, (&self.core, of_heads), rows, scratch);
        self.unfold(compute, n, scratch, own);
        let outputs = own.heads.for_consumer(&self.output.matrix, 0..n);
        stream.add(compute, n, residual, |mut sum| sum.add(compute, &self.output, outputs));
    }

    /// Computes queries and gates, and latent vectors with their keys.
    fn project(
        &self,
        compute: Compute<'_>,
        input: &Inputs,
        (n_keys, n_queries): (usize, usize),
        own: &mut MlaScratch,
    ) {
        let spec = &self.spec;
        let q = &mut own.q[..n_queries * spec.n_head * spec.head_dim_k()];
        let kv = &mut own.kv[..n_keys * spec.n_cached()];
        let of = |linear: &'_ Linear, n| input.for_consumer(&linear.matrix, 0..n);
        let kv = Product::of(&self.kv_a, of(&self.kv_a, n_keys), kv);
        let gate = &mut own.gate[..n_queries * spec.n_gate()];
        let gate = self.gate.as_ref().map(|linear| Product::of(linear, of(linear, n_queries), gate));
        let Some((q_a, norm)) = &self.q_a else {
            let q = Product::of(&self.q, of(&self.q, n_queries), q);
            return compute.multiply_some([Some(kv), gate, Some(q)]);
        };
        let rows = &mut own.q_a[..n_queries * q_a.matrix.n_out()];
        compute.multiply_some([Some(kv), gate, Some(Product::of(q_a, of(q_a, n_queries), &mut *rows))]);
        norm_into(Some(norm), compute, rows, Formats::of([&self.q.matrix]), &mut own.q_input);
        let x = own.q_input.for_consumer(&self.q.matrix, 0..n_queries);
        compute.multiply([Product::of(&self.q, x, q)]);
    }

    /// Brings the parts of `n` rows' queries that are not rotated to latent vectors.
    fn absorb(&self, compute: Compute<'_>, n: usize, own: &mut MlaScratch) {
        let (n_head, head_dim, nope) = (self.spec.n_head, self.spec.head_dim_k(), self.spec.head_dim_nope);
        let rank = self.spec.kv_lora_rank;
        if n == 0 {
            return;
        }
        let q = &own.q;
        let query = |row: usize| {
            let (head, token) = (row / n, row % n);
            &q[(token * n_head + head) * head_dim..][..nope]
        };
        gather(compute, &mut own.nope, n_head * n, Formats::of([&self.k_b.matrix]), query);
        let out = own.absorbed[..n_head * n * rank].chunks_exact_mut(n * rank).enumerate();
        let products = out.map(|(head, out)| {
            let x = own.nope.for_consumer(&self.k_b.matrix, head * n..(head + 1) * n);
            Product::of_expert(&self.k_b, head, x, out)
        });
        compute.multiply_all(n_head * n * rank * nope, products);
    }

    /// Norms latent vectors, rotates keys and queries, stores the former and scales the latter.
    fn place<P: BatchPart>(
        &self,
        compute: Compute<'_>,
        rows: &mut Rows<'_, P>,
        (n_keys, n_queries): (usize, usize),
        (scratch, own): (&mut AttentionScratch, &mut MlaScratch),
    ) {
        let spec = &self.spec;
        let &mut Rows { ref mut parts, batch, layer, does, .. } = rows;
        let (n_cached, n_head) = (spec.n_cached(), spec.n_head);
        scratch.queries.set_n_in(n_cached);
        let kv = pieces_of(
            RowsMut { values: &mut own.kv[..n_keys * n_cached], width: n_cached },
            batch.runs.iter().map(|run| does.rows(run.n).0),
        );
        let queries = pieces_of(
            scratch.queries.rows_mut(0..n_queries * n_head),
            batch.runs.iter().map(|run| does.rows(run.n).1 * n_head),
        );
        let by_run = batch.runs_of(parts).flat_map(|(part, runs)| {
            let first = runs.first().map_or(0, |run| run.position);
            let mut chunks = (n_keys > 0).then(|| part.cache_mut().heads_mut(layer, first));
            runs.iter().map(move |run| (run, chunks.as_mut().and_then(Iterator::next)))
        });
        let parts = by_run.zip(kv.zip(queries)).map(|((run, cache), (kv, queries))| {
            (run, cache.and_then(|mut heads| heads.next()), kv, queries)
        });
        let context = Context {
            part: self,
            angles: spec.rope.map(|rope| (rope, &rows.angles[rope.index])),
            n: n_queries,
            q: &own.q,
            absorbed: &own.absorbed,
        };
        let format = scratch.query_format;
        let work = 8 * (n_keys * 2 * n_cached + n_queries * n_head * n_cached);
        type Part<'a> = (&'a Run, Option<HeadMut<'a>>, RowsMut<'a, f32>, InputRows<'a>);
        let body = |scratch: &mut super::scratch::Scratch, (run, cache, kv, mut queries): Part<'_>| {
            if let Some(cache) = cache {
                context.store(compute.kernels, run, cache, kv.values, &mut scratch.row);
            }
            context.scale(compute.kernels, run, queries.floats());
            queries.quantize(compute.kernels, format);
        };
        compute.for_each_with(work, &mut scratch.scratch, parts, body);
    }

    /// Brings the sums of latent vectors of `n` rows to values, and multiplies these with their gates.
    fn unfold(&self, compute: Compute<'_>, n: usize, scratch: &AttentionScratch, own: &mut MlaScratch) {
        let (n_head, rank, head_dim) = (self.spec.n_head, self.spec.kv_lora_rank, self.spec.head_dim_v);
        let sums = scratch.heads.floats(0..n);
        let sum = |row: usize| &sums[(row % n * n_head + row / n) * rank..][..rank];
        gather(compute, &mut own.latent, n_head * n, Formats::of([&self.v_b.matrix]), sum);
        let out = own.values[..n_head * n * head_dim].chunks_exact_mut(n * head_dim).enumerate();
        let products = out.map(|(head, out)| {
            let x = own.latent.for_consumer(&self.v_b.matrix, head * n..(head + 1) * n);
            Product::of_expert(&self.v_b, head, x, out)
        });
        compute.multiply_all(n_head * n * rank * head_dim, products);
        let (values, gates, n_gate) = (&own.values, &own.gate, self.spec.n_gate());
        let formats = Formats::of([&self.output.matrix]);
        let piece_len = compute.piece_len(n, 8 * n_head * head_dim);
        let parts = pieces(own.heads.rows_mut(0..n), piece_len).enumerate();
        compute.for_each(8 * n * n_head * head_dim, parts, |(i, mut rows): (usize, InputRows<'_>)| {
            for (j, row) in rows.floats().chunks_exact_mut(n_head * head_dim).enumerate() {
                let token = i * piece_len + j;
                for (head, out) in row.chunks_exact_mut(head_dim).enumerate() {
                    out.copy_from_slice(&values[(head * n + token) * head_dim..][..head_dim]);
                }
                let gates = &gates[token * n_gate..][..n_gate];
                match self.spec.gate {
                    None => {}
                    Some(AttentionGate::Head) => gate_heads(row, gates, sigmoid),
                    Some(AttentionGate::Element | AttentionGate::WithQuery) => {
                        gate_elements(row, gates, sigmoid);
                    }
                }
            }
            rows.quantize(compute.kernels, formats);
        });
    }
}

/// Copies `row(i)` to row `i` of the first `n` of `out`, quantised into `formats`.
fn gather<'a>(
    compute: Compute<'_>,
    out: &mut Inputs,
    n: usize,
    formats: Formats,
    row: impl Fn(usize) -> &'a [f32] + Sync,
) {
    let n_in = out.n_in();
    let piece_len = compute.piece_len(n, 8 * n_in);
    let parts = pieces(out.rows_mut(0..n), piece_len).enumerate();
    compute.for_each(8 * n * n_in, parts, |(i, mut rows): (usize, InputRows<'_>)| {
        for (j, out) in rows.floats().chunks_exact_mut(n_in).enumerate() {
            out.copy_from_slice(row(i * piece_len + j));
        }
        rows.quantize(compute.kernels, formats);
    });
}

/// What all runs have in common.
struct Context<'a> {
    part: &'a Mla,
    /// The rotation, if there is one.
    angles: Option<(RopeUse, &'a Angles)>,
    /// Rows with queries.
    n: usize,
    /// `[n, n_head * (head_dim_nope + n_rot)]`.
    q: &'a [f32],
    /// `[n_head, n, kv_lora_rank]`.
    absorbed: &'a [f32],
}

impl Context<'_> {
    /// Stores the normed latent vectors with their rotated keys: `kv: [run.n, kv_lora_rank + n_rot]`.
    fn store(&self, kernels: &Kernels, run: &Run, mut cache: HeadMut<'_>, kv: &mut [f32], spare: &mut [f32]) {
        let (spec, ops) = (&self.part.spec, kernels.ops());
        for (i, key) in kv.chunks_exact_mut(spec.n_cached()).enumerate() {
            let (latent, rotated) = key.split_at_mut(spec.kv_lora_rank);
            let unnormed = &mut spare[..latent.len()];
            unnormed.copy_from_slice(latent);
            self.part.kv_norm.row(ops, unnormed, 0, latent);
            if let Some(norm) = &self.part.key_norm {
                let unnormed = &mut spare[..rotated.len()];
                unnormed.copy_from_slice(rotated);
                norm.row(ops, unnormed, 0, rotated);
            }
            if let Some((rope, angles)) = self.angles {
                rotate(ops, rope, rotated, angles, run.first_row + i);
            }
            let value = &key[..spec.kv_lora_rank];
            cache.store(kernels.attention(), run.position % CHUNK + i, key, value);
        }
    }

    /// Puts the queries of a run together, `out: [run.n, n_head, kv_lora_rank + n_rot]`.
    fn scale(&self, kernels: &Kernels, run: &Run, out: &mut [f32]) {
        let (spec, ops) = (&self.part.spec, kernels.ops());
        let (n_head, rank) = (spec.n_head, spec.kv_lora_rank);
        for (i, out) in out.chunks_exact_mut(n_head * spec.n_cached()).enumerate() {
            let row = run.first_row + i;
            let scale = spec.scale * temperature(spec.temperature, run.position + i);
            for (head, out) in out.chunks_exact_mut(spec.n_cached()).enumerate() {
                let (latent, rotated) = out.split_at_mut(rank);
                latent.copy_from_slice(&self.absorbed[(head * self.n + row) * rank..][..rank]);
                let query = &self.q[(row * n_head + head) * spec.head_dim_k()..][..spec.head_dim_k()];
                rotated.copy_from_slice(&query[spec.head_dim_nope..]);
                if let Some((rope, angles)) = self.angles {
                    rotate(ops, rope, rotated, angles, row);
                }
                out.iter_mut().for_each(|x| *x *= scale);
            }
        }
    }
}
