//! The two steps of a layer: it mixes positions, and then looks at each alone.

use super::batch::{Batch, BatchPart};
use super::compute::Compute;
use super::layer::rows::{Does, Rows};
use super::layer::{FfnInput, Layer, Mixer, norm_into};
use super::workspace::Workspace;

/// Lets a layer, which comes with its number, mix the positions for the rows of a batch.
pub(super) fn mix<P: BatchPart>(
    compute: Compute<'_>,
    (i, layer): (usize, &Layer),
    parts: &mut [P],
    space: &mut Workspace,
    (batch, does): (&Batch, Does),
) {
    if matches!(layer.mixer, Mixer::None) {
        return;
    }
    let n = batch.n();
    // Of several streams, the one that is looked at was made when positions were stored.
    if does != Does::Attend {
        gather(compute, (i, layer), parts, space, batch);
    }
    norm_inputs(compute, layer, space, (n, does));
    if layer.hyper.is_some() && does != Does::Store {
        space.stream.rows_mut(n).values.fill(0.0);
    }
    run_mixer(compute, (i, layer), parts, space, (batch, does));
    if does == Does::Store {
        return;
    }
    let Workspace { stream, normed, altup, hyper, .. } = space;
    if let Some(norm) = &layer.mixer_stream_norm {
        stream.norm(compute, n, norm);
    }
    if let (Some(part), Some(scratch)) = (&layer.hyper, hyper) {
        part.mixer.spread(compute, (&mut *stream, n), scratch);
    }
    if let (Some(part), Some(scratch)) = (&layer.altup, altup) {
        part.average(compute, normed, (stream, n), scratch);
    }
}

/// Adds to the several streams of the rows of a batch what a table of n-grams has for them, and makes of them the one that
/// the mixer gets.
fn gather<P: BatchPart>(
    compute: Compute<'_>,
    (i, layer): (usize, &Layer),
    parts: &mut [P],
    space: &mut Workspace,
    batch: &Batch,
) {
    let Workspace { stream, angles, hyper, ngram, .. } = space;
    let (Some(part), Some(hyper)) = (&layer.hyper, hyper) else { return };
    if let (Some(table), Some(scratch)) = (&layer.ngram, ngram) {
        let mut rows = Rows { parts, batch, angles, layer: i, does: Does::Both, mixer_state: 0 };
        table.step(compute, &mut rows, hyper, scratch);
    }
    part.mixer.gather(compute, (stream, batch.n()), hyper);
}

/// Has the mixer add its outputs for the normed rows to the stream.
fn run_mixer<P: BatchPart>(
    compute: Compute<'_>,
    (i, layer): (usize, &Layer),
    parts: &mut [P],
    space: &mut Workspace,
    (batch, does): (&Batch, Does),
) {
    let Workspace {
        stream,
        normed,
        angles,
        attention,
        mla,
        recurrent,
        mamba1,
        head_mamba,
        rwkv6,
        rwkv7,
        kda,
        ..
    } = space;
    // Layers of a bidirectional model share the room for keys and values.
    let cached = if layer.mixer.is_bidirectional() { 0 } else { i };
    let mixer_state = layer.ngram.as_ref().map_or(0, |ngram| ngram.spec.state_len());
    let mut rows = Rows { parts, batch, angles, layer: cached, does, mixer_state };
    let residual = (&layer.mixer_residual, stream);
    match &layer.mixer {
        Mixer::Attention(part) => part.step(compute, &mut rows, normed, made(attention), residual),
        Mixer::Mla(part) => {
            part.step(compute, &mut rows, normed, (made(attention), made(mla)), residual);
        }
        Mixer::ShortConv(part) => part.step(compute, &mut rows, normed, made(recurrent), residual),
        Mixer::DeltaNet(part) => part.step(compute, &mut rows, normed, made(recurrent), residual),
        Mixer::Lightning(part) => part.step(compute, &mut rows, normed, made(recurrent), residual),
        Mixer::Mamba2(part) => part.step(compute, &mut rows, normed, made(recurrent), residual),
        Mixer::Mamba1(part) => part.step(compute, &mut rows, normed, made(mamba1), residual),
        Mixer::HeadMamba(part) => {
            part.step(compute, &mut rows, normed, (made(recurrent), made(head_mamba)), residual);
        }
        Mixer::Rwkv6(part) => part.step(compute, &mut rows, normed, made(rwkv6), residual),
        Mixer::Rwkv7(part) => part.step(compute, &mut rows, normed, made(rwkv7), residual),
        Mixer::Kda(part) => part.step(compute, &mut rows, normed, made(kda), residual),
        Mixer::AttentionAndMamba2(parts) => {
            let (residual, stream) = residual;
            parts.0.step(compute, &mut rows, normed, made(attention), (residual, &mut *stream));
            parts.1.step(compute, &mut rows, normed, made(recurrent), (residual, stream));
        }
        Mixer::Linear(linear) => {
            let (residual, stream) = residual;
            let n = batch.n();
            let x = normed.for_consumer(&linear.matrix, 0..n);
            stream.add(compute, n, residual, |mut sum| sum.add(compute, linear, x));
        }
        Mixer::None => {}
    }
}

/// Norms the stream for a layer's mixer, and for what looks at the stream as the mixer does.
fn norm_inputs(compute: Compute<'_>, layer: &Layer, space: &mut Workspace, (n, does): (usize, Does)) {
    let Workspace { stream, normed, ffn_input, early, .. } = space;
    let mut norm = layer.mixer_norm.as_ref();
    if layer.norms_stream {
        // It was when positions were stored.
        if let Some(norm) = norm.filter(|_| does != Does::Attend) {
            stream.norm(compute, n, norm);
        }
        norm = None;
    }
    norm_into(norm, compute, stream.rows(n), layer.mixer_formats(), normed);
    if let (FfnInput::Beside(norm), Some(ffn_input)) = (&layer.ffn_input, ffn_input)
        && does != Does::Store
    {
        norm_into(Some(norm), compute, stream.rows(n), layer.ffn.input_formats(), ffn_input);
    }
    if let (Some(needs), Some(early)) = (layer.ffn.early(), early)
        && does != Does::Store
    {
        norm_into(needs.norm, compute, stream.rows(n), needs.formats, early);
    }
}

/// The buffers of a mixer that the model has.
fn made<T>(scratch: &mut Option<T>) -> &mut T {
    scratch.as_mut().expect("the buffers were made for this mixer")
}

/// Lets a layer, which comes with its number, do its feed-forward part for the first `n` rows, and what is
/// behind it.
pub(super) fn feed_forward(
    compute: Compute<'_>,
    (i, layer): (usize, &Layer),
    space: &mut Workspace,
    n: usize,
) {
    let Workspace { stream, normed, ffn_input, early, ffn, per_layer, altup, hyper, .. } = space;
    let mut places = layer.hyper.as_ref().zip(hyper.as_mut());
    if let Some((part, scratch)) = &mut places {
        part.ffn.gather(compute, (&mut *stream, n), scratch);
    }
    let input = match (&layer.ffn_input, &*ffn_input) {
        (FfnInput::Sequential(norm), _) => {
            let mut norm = norm.as_ref();
            if layer.norms_stream
                && let Some(norm) = norm.take()
            {
                stream.norm(compute, n, norm);
            }
            norm_into(norm, compute, stream.rows(n), layer.ffn.input_formats(), normed);
            &*normed
        }
        (FfnInput::Beside(_), Some(ffn_input)) => ffn_input,
        (FfnInput::Shared | FfnInput::Beside(_), _) => &*normed,
    };
    if places.is_some() {
        stream.rows_mut(n).values.fill(0.0);
    }
    layer.ffn.step(compute, (input, early.as_ref(), n), ffn, &layer.ffn_residual, stream);
    if let Some(norm) = &layer.ffn_stream_norm {
        stream.norm(compute, n, norm);
    }
    if let Some((part, scratch)) = &mut places {
        part.ffn.spread(compute, (&mut *stream, n), scratch);
    }
    let mut streams = layer.altup.as_ref().zip(altup.as_mut());
    if let Some((part, scratch)) = &mut streams {
        part.correct(compute, (&mut *stream, n), scratch);
    }
    if let (Some(part), Some(scratch)) = (&layer.per_layer, per_layer) {
        part.step(compute, (i, streams.is_some()), n, scratch, stream);
    }
    if let Some((_, scratch)) = streams {
        scratch.add_to_others(compute, n, stream);
    }
    if let Some(scale) = layer.stored_scale {
        stream.scale(compute, n, scale);
    }
    if let Some(norm) = &layer.last_norm {
        stream.norm(compute, n, norm);
    }
}
