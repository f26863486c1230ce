//! A model's streams of all texts, on their way through its layers.

use super::drift::Seen;
use super::observe::{Capture, Place};
use super::options::CalibrateOptions;
use super::streams::Streams;
use super::sums::Sum;
use crate::error::Result;
use crate::model::{InputObserver, SingleLayers, Until};

/// A model with the streams that have come to the layer at hand.
#[derive(Debug)]
pub(super) struct Track<'a> {
    pub(super) model: SingleLayers,
    texts: Vec<&'a [u32]>,
    streams: Streams,
    buffer: Vec<f32>,
}

impl<'a> Track<'a> {
    /// Opens the model of `options` and starts the streams of `texts`, which are equally long, with its embedding.
    ///
    /// # Errors
    /// As [`SingleLayers::open`] and [`Streams::new`].
    pub(super) fn open(
        options: &CalibrateOptions<'_>,
        texts: Vec<&'a [u32]>,
        n_together: usize,
    ) -> Result<Self> {
        let n_ctx = texts.first().map_or(0, |text| text.len());
        let model =
            SingleLayers::open(options.reference, options.kernels, options.n_threads, (n_together, n_ctx))?;
        let len = n_ctx * model.spec().n_embd;
        let streams = Streams::new(texts.len(), len, options.folder)?;
        let mut track = Self { model, texts, streams, buffer: Vec::new() };
        let all: Vec<usize> = (0..track.texts.len()).collect();
        for texts in all.chunks(n_together) {
            let ids = track.ids(texts);
            track.buffer.resize(texts.len() * len, 0.0);
            track.model.embed(&ids, &mut track.buffer)?;
            track.streams.set(texts, &track.buffer)?;
        }
        Ok(track)
    }

    /// The ids of some texts.
    fn ids(&self, texts: &[usize]) -> Vec<&'a [u32]> {
        texts.iter().map(|&text| self.texts[text]).collect()
    }

    /// The streams of some texts as they came: `[n_tokens, n_embd]`.
    pub(super) fn streams(&mut self, texts: &[usize]) -> Result<&[f32]> {
        self.streams.get(texts, &mut self.buffer)?;
        Ok(&self.buffer)
    }

    /// What the streams of some texts become in a layer, of which `observer` sees the inputs; they stay as they are.
    pub(super) fn try_layer(
        &mut self,
        texts: &[usize],
        layer: (usize, Until),
        observer: Option<&dyn InputObserver>,
    ) -> Result<&[f32]> {
        let ids = self.ids(texts);
        self.streams.get(texts, &mut self.buffer)?;
        self.model.step(layer, &ids, &mut self.buffer, observer)?;
        Ok(&self.buffer)
    }

    /// Takes the streams of some texts through a layer.
    pub(super) fn advance(
        &mut self,
        texts: &[usize],
        layer: usize,
        observer: Option<&dyn InputObserver>,
    ) -> Result<()> {
        self.try_layer(texts, (layer, Until::End), observer)?;
        self.streams.set(texts, &self.buffer)
    }

    /// What the output matrix gets of some texts, behind the last layer: `[n_tokens, n_embd]`.
    pub(super) fn output_inputs(&mut self, texts: &[usize]) -> Result<Vec<f32>> {
        self.streams.get(texts, &mut self.buffer)?;
        let n = self.buffer.len() / self.model.spec().n_embd;
        let mut inputs = Vec::new();
        self.model.see_output_inputs(n, &self.buffer, |seen| inputs.extend_from_slice(seen))?;
        Ok(inputs)
    }
}

/// What some texts bring to the matrix at `place`, and what that lacks of what they bring to it in the original model.
/// The layer is computed `until`; `sum` says where outputs are added.
pub(super) fn see(
    (ours, original): (&mut Track<'_>, &mut Track<'_>),
    texts: &[usize],
    ((layer, until), sum): ((usize, Until), Option<Sum>),
    place: &Place,
) -> Result<Seen> {
    let of = |track: &mut Track<'_>| -> Result<[Vec<f32>; 2]> {
        let capture = Capture::new(place);
        track.try_layer(texts, (layer, until), Some(&capture))?;
        let stream = match sum {
            None => Vec::new(),
            Some(Sum { behind: None, .. }) => track.streams(texts)?.to_vec(),
            Some(Sum { behind: Some(until), .. }) => track.try_layer(texts, (layer, until), None)?.to_vec(),
        };
        Ok([capture.finish(), stream])
    };
    let ([inputs, stream], [originals, original_stream]) = (of(ours)?, of(original)?);
    assert_eq!(inputs.len(), originals.len(), "both models see all tokens");
    let lost = |of: &[f32], ours: &[f32], scale: f32| -> Vec<f32> {
        of.iter().zip(ours).map(|(of, ours)| (of - ours) / scale).collect()
    };
    Ok(Seen {
        lost: lost(&originals, &inputs, 1.0),
        lost_of_stream: lost(&original_stream, &stream, sum.map_or(1.0, |sum| sum.scale)),
        inputs,
    })
}
