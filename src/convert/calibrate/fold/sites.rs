//! Where the columns of matrices can be multiplied and what makes their inputs divided, without changing the model.
//!
//! What makes the inputs is exact to divide where it is linear in its last step: the weights of a norm, the rows of an
//! up projection whose output a gate multiplies, the rows of values, of which attention takes means. Everything that
//! reads the same inputs has to be multiplied.

use serde::{Deserialize, Serialize};

use gguf_simd::ops::Gate;

use crate::model::spec::layer::{AttentionSpec, FfnInput, FfnSpec, LayerSpec, MixerSpec, NormSpec};
use crate::model::spec::{Role, TensorId};

/// What makes the inputs of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Maker {
    /// A norm.
    Norm,
    /// The values of attention.
    Values,
    /// An up projection.
    Up,
}

/// Matrices that read the same inputs, and what makes these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Site {
    pub(super) maker: Maker,
    /// The tensors that are divided, and whether it is their rows.
    pub(super) makers: Vec<(String, bool)>,
    /// The matrices whose columns are multiplied.
    pub(super) readers: Vec<String>,
    /// Factors: several columns may share one.
    pub(super) n_factors: usize,
    /// `[n_in]`: the factor of each column.
    pub(super) factor_of: Vec<u32>,
}

/// The sites of layer `i` of a file that `has` tensors of these names.
pub(super) fn sites(i: usize, layer: &LayerSpec, has: &dyn Fn(&str) -> bool) -> Vec<Site> {
    let finder = Finder { layer: Some(i), has };
    let mut sites = Vec::new();
    if layer.altup.is_some() || layer.hyper.is_some() || layer.norms_stream {
        // A narrow part beside attention reads the same norm, and streams are mixed by what they are. A stream that goes
        // on normed reads it as well.
        return sites;
    }
    if let MixerSpec::Attention(attention) = &layer.mixer {
        let readers = [Role::AttnQ, Role::AttnK, Role::AttnV, Role::AttnQkv, Role::AttnGate];
        // A parallel feed-forward part would read the same norm.
        if let (Some(norm), false) = (layer.mixer_norm, matches!(layer.ffn_input, FfnInput::Shared)) {
            sites.extend(finder.of_norm((layer.mixer_norm_role, norm), attention.n_embd, &readers));
        }
        sites.extend(finder.of_values(attention));
    }
    if let FfnSpec::Dense(shape) | FfnSpec::Gated(shape) = &layer.ffn {
        if let FfnInput::Sequential(Some(norm)) | FfnInput::Beside(norm) = layer.ffn_input {
            let readers = [Role::FfnGate, Role::FfnUp];
            sites.extend(finder.of_norm((layer.ffn_norm_role, norm), shape.n_embd, &readers));
        }
        let is_linear =
            !matches!(shape.activation, Gate::ClampedSilu { .. } | Gate::BoundedSilu { .. } | Gate::Xielu(_));
        let is_gated = matches!(layer.ffn, FfnSpec::Gated(_)) && !shape.is_fused;
        if is_gated && is_linear && shape.hidden_norm.is_none() {
            sites.extend(finder.of_rows(
                Maker::Up,
                (Role::FfnUp, Role::FfnDown),
                (0..shape.n_ff as u32).collect(),
            ));
        }
    }
    sites
}

struct Finder<'a> {
    layer: Option<usize>,
    has: &'a dyn Fn(&str) -> bool,
}

impl Finder<'_> {
    /// The name of a tensor, if it is there.
    fn find(&self, id: TensorId) -> Option<String> {
        Some(id.gguf_name()).filter(|name| (self.has)(name))
    }

    fn of_norm(&self, (role, norm): (Role, NormSpec), n: usize, readers: &[Role]) -> Option<Site> {
        let weights = self.find(norm.weights(role, self.layer)).filter(|_| norm.has_weight)?;
        let bias = self.find(TensorId::bias(role, self.layer));
        let readers: Vec<String> =
            readers.iter().filter_map(|&role| self.find(TensorId::weight(role, self.layer))).collect();
        (!readers.is_empty()).then(|| Site {
            maker: Maker::Norm,
            makers: [Some(weights), bias].into_iter().flatten().map(|name| (name, false)).collect(),
            readers,
            n_factors: n,
            factor_of: (0..n as u32).collect(),
        })
    }

    /// Heads of a group read the same values. What bounds or norms values or outputs is not linear, and a layer that
    /// takes keys for values has no rows of its own to divide.
    fn of_values(&self, attention: &AttentionSpec) -> Option<Site> {
        let AttentionSpec { v_norm, output_norm, clamp, shares_kv_with, .. } = attention;
        if v_norm.is_some() || output_norm.is_some() || clamp.is_some() || shares_kv_with.is_some() {
            return None;
        }
        let (dim, group) = (attention.head_dim_v, attention.group());
        let of_column = |column: usize| (column / dim / group * dim + column % dim) as u32;
        let factor_of = (0..attention.n_embd_out()).map(of_column).collect();
        self.of_rows(Maker::Values, (Role::AttnV, Role::AttnOutput), factor_of)
    }

    fn of_rows(&self, maker: Maker, (made_by, read_by): (Role, Role), factor_of: Vec<u32>) -> Option<Site> {
        let weights = self.find(TensorId::weight(made_by, self.layer))?;
        let bias = self.find(TensorId::bias(made_by, self.layer)).map(|name| (name, false));
        let reader = self.find(TensorId::weight(read_by, self.layer))?;
        let n_factors = factor_of.iter().max().map_or(0, |&last| last as usize + 1);
        let makers = std::iter::once((weights, true)).chain(bias).collect();
        Some(Site { maker, makers, readers: vec![reader], n_factors, factor_of })
    }
}
