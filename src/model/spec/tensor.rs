//! The tensors that a model may have, by the parts they play.

use std::fmt;

use super::Side;

/// Defines [`Role`] from rows of a name, the stem that GGUF gives the tensors, and whether each layer has
/// its own.
macro_rules! roles {
    ($($(#[$doc:meta])* $role:ident $stem:literal $scope:ident;)*) => {
        /// The part a tensor plays. Recipes choose block types by it, the loader looks tensors up by it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the field's own names")]
        pub enum Role { $($(#[$doc])* $role,)* }

        impl Role {
            /// What its GGUF name consists of, behind `blk.N.` if each layer has its own, before the suffix.
            fn stem(self) -> &'static str {
                match self { $(Self::$role => $stem,)* }
            }

            fn from_stem(stem: &str) -> Option<Self> {
                match stem { $($stem => Some(Self::$role),)* _ => None }
            }

            /// Whether each layer has its own.
            pub fn is_of_layer(self) -> bool {
                match self { $(Self::$role => roles!(@is_layer $scope),)* }
            }
        }
    };
    (@is_layer layer) => { true };
    (@is_layer model) => { false };
}

roles! {
    TokenEmbd "token_embd" model;
    TokenEmbdNorm "token_embd_norm" model;
    PositionEmbd "position_embd" model;
    TokenTypes "token_types" model;
    PerLayerTokenEmbd "per_layer_token_embd" model;
    PerLayerModelProj "per_layer_model_proj" model;
    PerLayerProjNorm "per_layer_proj_norm" model;
    AltUpProj "altup_proj" model;
    AltUpUnembdProj "altup_unembd_proj" model;
    OutputNorm "output_norm" model;
    Output "output" model;
    /// Of encoders that have a norm there.
    EncOutputNorm "enc.output_norm" model;
    Dense2 "dense_2" model;
    Dense3 "dense_3" model;
    Cls "cls" model;
    ClsNorm "cls.norm" model;
    ClsOutput "cls.output" model;
    RopeFreqs "rope_freqs" model;
    RopeFactorsLong "rope_factors_long" model;
    RopeFactorsShort "rope_factors_short" model;
    AttnNorm "attn_norm" layer;
    AttnNorm2 "attn_norm_2" layer;
    AttnQ "attn_q" layer;
    AttnK "attn_k" layer;
    AttnV "attn_v" layer;
    AttnQkv "attn_qkv" layer;
    AttnOutput "attn_output" layer;
    AttnOutputNorm "attn_output_norm" layer;
    AttnSubNorm "attn_sub_norm" layer;
    AttnQNorm "attn_q_norm" layer;
    AttnKNorm "attn_k_norm" layer;
    AttnGate "attn_gate" layer;
    AttnSinks "attn_sinks" layer;
    /// As llama.cpp calls that of T5; of a layer whose table others share, it is theirs too.
    AttnRelB "attn_rel_b" layer;
    AttnQA "attn_q_a" layer;
    AttnQANorm "attn_q_a_norm" layer;
    AttnQB "attn_q_b" layer;
    AttnKvAMqa "attn_kv_a_mqa" layer;
    AttnKvANorm "attn_kv_a_norm" layer;
    AttnKvB "attn_kv_b" layer;
    AttnKB "attn_k_b" layer;
    AttnVB "attn_v_b" layer;
    IndexerKNorm "indexer.k_norm" layer;
    IndexerProj "indexer.proj" layer;
    IndexerAttnK "indexer.attn_k" layer;
    IndexerAttnQB "indexer.attn_q_b" layer;
    IndexerQProj "indexer.q_proj" layer;
    IndexerKProj "indexer.k_proj" layer;
    IndexerQNorm "indexer.q_norm" layer;
    ShortConvInput "shortconv.in_proj" layer;
    ShortConvConv "shortconv.conv" layer;
    ShortConvOutput "shortconv.out_proj" layer;
    SsmConv "ssm_conv1d" layer;
    SsmConvQ "ssm_conv1d_q" layer;
    SsmConvK "ssm_conv1d_k" layer;
    SsmConvV "ssm_conv1d_v" layer;
    SsmFA "ssm_f_a" layer;
    SsmFB "ssm_f_b" layer;
    SsmGA "ssm_g_a" layer;
    SsmGB "ssm_g_b" layer;
    SsmDt "ssm_dt" layer;
    SsmA "ssm_a" layer;
    SsmD "ssm_d" layer;
    SsmIn "ssm_in" layer;
    SsmBeta "ssm_beta" layer;
    SsmAlpha "ssm_alpha" layer;
    SsmBetaAlpha "ssm_ba" layer;
    SsmX "ssm_x" layer;
    SsmDtNorm "ssm_dt_norm" layer;
    SsmBNorm "ssm_b_norm" layer;
    SsmCNorm "ssm_c_norm" layer;
    SsmNorm "ssm_norm" layer;
    SsmOut "ssm_out" layer;
    TimeMixLerp "time_mix_lerp_fused" layer;
    TimeMixLerpX "time_mix_lerp_x" layer;
    TimeMixLerpW "time_mix_lerp_w" layer;
    TimeMixLerpK "time_mix_lerp_k" layer;
    TimeMixLerpV "time_mix_lerp_v" layer;
    TimeMixLerpR "time_mix_lerp_r" layer;
    TimeMixLerpG "time_mix_lerp_g" layer;
    TimeMixFirst "time_mix_first" layer;
    TimeMixDecay "time_mix_decay" layer;
    TimeMixDecayW1 "time_mix_decay_w1" layer;
    TimeMixDecayW2 "time_mix_decay_w2" layer;
    TimeMixW0 "time_mix_w0" layer;
    TimeMixW1 "time_mix_w1" layer;
    TimeMixW2 "time_mix_w2" layer;
    TimeMixA0 "time_mix_a0" layer;
    TimeMixA1 "time_mix_a1" layer;
    TimeMixA2 "time_mix_a2" layer;
    TimeMixV0 "time_mix_v0" layer;
    TimeMixV1 "time_mix_v1" layer;
    TimeMixV2 "time_mix_v2" layer;
    TimeMixG1 "time_mix_g1" layer;
    TimeMixG2 "time_mix_g2" layer;
    TimeMixKK "time_mix_k_k" layer;
    TimeMixKA "time_mix_k_a" layer;
    TimeMixRK "time_mix_r_k" layer;
    TimeMixReceptance "time_mix_receptance" layer;
    TimeMixKey "time_mix_key" layer;
    TimeMixValue "time_mix_value" layer;
    TimeMixGate "time_mix_gate" layer;
    TimeMixLn "time_mix_ln" layer;
    TimeMixOutput "time_mix_output" layer;
    ChannelMixLerpK "channel_mix_lerp_k" layer;
    ChannelMixLerpR "channel_mix_lerp_r" layer;
    ChannelMixReceptance "channel_mix_receptance" layer;
    ChannelMixKey "channel_mix_key" layer;
    ChannelMixValue "channel_mix_value" layer;
    AttnPostNorm "post_attention_norm" layer;
    FfnNorm "ffn_norm" layer;
    FfnGate "ffn_gate" layer;
    FfnUp "ffn_up" layer;
    FfnDown "ffn_down" layer;
    FfnSubNorm "ffn_sub_norm" layer;
    FfnLatentDown "ffn_latent_down" layer;
    FfnLatentUp "ffn_latent_up" layer;
    FfnPostNorm "post_ffw_norm" layer;
    FfnGateInp "ffn_gate_inp" layer;
    ExpProbs "exp_probs_b" layer;
    FfnGateExps "ffn_gate_exps" layer;
    FfnUpExps "ffn_up_exps" layer;
    FfnGateUpExps "ffn_gate_up_exps" layer;
    FfnDownExps "ffn_down_exps" layer;
    /// Of the stream that attention has not added to, for experts.
    FfnNormExps "ffn_norm_exps" layer;
    FfnGateChexps "ffn_gate_chexps" layer;
    FfnUpChexps "ffn_up_chexps" layer;
    FfnDownChexps "ffn_down_chexps" layer;
    FfnGateInpShexp "ffn_gate_inp_shexp" layer;
    FfnGateShexp "ffn_gate_shexp" layer;
    FfnUpShexp "ffn_up_shexp" layer;
    FfnDownShexp "ffn_down_shexp" layer;
    /// Of a dense part beside experts, behind it.
    FfnPostNorm1 "post_ffw_norm_1" layer;
    /// Of experts beside a dense part, before them.
    FfnPreNorm2 "pre_ffw_norm_2" layer;
    /// Of experts beside a dense part, behind them.
    FfnPostNorm2 "post_ffw_norm_2" layer;
    LayerOutputNorm "layer_output_norm" layer;
    LayerOutputScale "layer_output_scale" layer;
    AltUpCorrectCoef "altup_correct_coef" layer;
    AltUpCorrectScale "altup_correct_scale" layer;
    AltUpPredictCoef "altup_predict_coef" layer;
    AltUpRouter "altup_router" layer;
    AltUpRouterNorm "altup_router_norm" layer;
    LaurelLeft "laurel_l" layer;
    LaurelRight "laurel_r" layer;
    LaurelPostNorm "laurel_post_norm" layer;
    PerLayerInpGate "inp_gate" layer;
    PerLayerProj "proj" layer;
    PerLayerPostNorm "post_norm" layer;
}

impl Role {
    /// Whether it is a stack of matrices, one for each expert.
    pub fn is_expert_stack(self) -> bool {
        matches!(self, Self::FfnGateExps | Self::FfnUpExps | Self::FfnGateUpExps | Self::FfnDownExps)
            || matches!(self, Self::FfnGateChexps | Self::FfnUpChexps | Self::FfnDownChexps)
    }
}

impl Role {
    /// What its GGUF name consists of among the layers of `side`: T5's files call one part otherwise.
    fn stem_on(self, side: Side) -> &'static str {
        match (self, side) {
            (Self::AttnOutput, Side::Encoder) => "attn_o",
            _ => self.stem(),
        }
    }

    fn from_stem_on(side: Side, stem: &str) -> Option<Self> {
        match (side, stem) {
            (Side::Encoder, "attn_o") => Some(Self::AttnOutput),
            _ => Self::from_stem(stem).filter(|role| role.stem_on(side) == stem),
        }
    }

    /// Whether its names may have no suffix, and whether they may have one.
    fn suffixes(self) -> (bool, bool) {
        match self {
            Self::SsmA | Self::SsmD => (true, false),
            // Without one in Falcon-H1, in Hunyuan 3 and in PLaMo 2 and 3.
            Self::FfnNorm | Self::ExpProbs | Self::AttnPostNorm | Self::FfnPostNorm => (true, true),
            Self::SsmDtNorm | Self::SsmBNorm | Self::SsmCNorm => (true, true),
            _ => (false, true),
        }
    }
}

/// What a tensor is to the part it plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suffix {
    /// The weights.
    Weight,
    /// What is added to their product.
    Bias,
    /// What multiplies their product: one number, or one for each expert.
    Scale,
    /// Numbers of their own, whose name in GGUF has no suffix.
    Bare,
}

/// A tensor of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId {
    /// The part it plays.
    pub role: Role,
    /// Its layer, if each layer has its own.
    pub layer: Option<usize>,
    /// What it is to that part.
    pub suffix: Suffix,
    /// Which layers its layer is counted among.
    pub side: Side,
}

impl TensorId {
    /// The weights in `role`.
    ///
    /// # Panics
    /// If `layer` is missing for a role of layers, or there for one of the model (a bug in a part's spec).
    pub fn weight(role: Role, layer: Option<usize>) -> Self {
        assert_eq!(role.is_of_layer(), layer.is_some(), "{role:?} in layer {layer:?}");
        Self { role, layer, suffix: Suffix::Weight, side: Side::Alone }
    }

    /// The bias in `role`.
    ///
    /// # Panics
    /// As [`TensorId::weight`].
    pub fn bias(role: Role, layer: Option<usize>) -> Self {
        Self { suffix: Suffix::Bias, ..Self::weight(role, layer) }
    }

    /// The same among the layers of `side`, if it is of a layer.
    pub fn on(self, side: Side) -> Self {
        Self { side: if self.layer.is_some() { side } else { self.side }, ..self }
    }

    /// The tensor of this name in a GGUF file; `None` for one of no known part.
    pub fn from_gguf_name(name: &str) -> Option<Self> {
        let (side, layer, rest) = match Side::split(name) {
            None => (Side::Alone, None, name),
            Some((side, layer, rest)) => (side, Some(layer), rest),
        };
        let (stem, suffix) = rest.rsplit_once('.').unwrap_or((rest, ""));
        let suffixes = [Suffix::Weight, Suffix::Bias, Suffix::Scale, Suffix::Bare];
        let suffix = suffixes.into_iter().find(|s| s.name() == suffix)?;
        let role = Role::from_stem_on(side, stem).filter(|role| role.is_of_layer() == layer.is_some())?;
        let (without, with) = role.suffixes();
        let is_known = if suffix == Suffix::Bare { without } else { with };
        is_known.then_some(Self { role, layer, suffix, side })
    }

    /// The numbers in `role`.
    ///
    /// # Panics
    /// As [`TensorId::weight`].
    pub fn bare(role: Role, layer: Option<usize>) -> Self {
        Self { suffix: Suffix::Bare, ..Self::weight(role, layer) }
    }

    /// Whether a tensor of `n_dims` dimensions in this part is quantised: norms, biases, rotary divisors,
    /// convolutions and expert routers are few and sensitive, and stay floats.
    pub fn is_quantised(&self, n_dims: usize) -> bool {
        let is_sensitive = matches!(
            self.role,
            Role::FfnGateInp
                | Role::AttnQNorm
                | Role::AttnKNorm
                | Role::AttnRelB
                | Role::PositionEmbd
                | Role::TokenTypes
                | Role::ShortConvConv
                | Role::SsmConv
                | Role::SsmConvQ
                | Role::SsmConvK
                | Role::SsmConvV
                | Role::SsmNorm
                | Role::PerLayerModelProj
                | Role::AltUpProj
                | Role::AltUpUnembdProj
                | Role::AltUpCorrectCoef
                | Role::AltUpPredictCoef
                | Role::AltUpRouter
                | Role::LaurelLeft
                | Role::LaurelRight
                | Role::TimeMixLerp
                | Role::TimeMixFirst
                | Role::TimeMixDecayW1
                | Role::TimeMixDecayW2
                | Role::TimeMixW1
                | Role::TimeMixW2
                | Role::TimeMixA1
                | Role::TimeMixA2
                | Role::TimeMixV1
                | Role::TimeMixV2
                | Role::TimeMixG1
                | Role::TimeMixG2
        );
        n_dims > 1 && !is_sensitive && self.suffix == Suffix::Weight
    }

    /// Its name in a GGUF file.
    pub fn gguf_name(&self) -> String {
        self.to_string()
    }
}

impl Suffix {
    /// Its name, as in `attn_q.weight`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
            Self::Scale => "scale",
            Self::Bare => "",
        }
    }
}

/// The name in a GGUF file.
impl fmt::Display for TensorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(layer) = self.layer {
            write!(f, "{}{layer}.", self.side.prefix())?;
        }
        f.write_str(self.role.stem_on(self.side))?;
        if self.suffix == Suffix::Bare { Ok(()) } else { write!(f, ".{}", self.suffix.name()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_files_are_read_back() {
        let ids = [
            TensorId::weight(Role::TokenEmbd, None),
            TensorId::bias(Role::AttnQ, Some(12)),
            TensorId::weight(Role::ShortConvInput, Some(1)),
            TensorId::bare(Role::SsmA, Some(1)),
            TensorId::weight(Role::AttnOutput, Some(3)).on(Side::Encoder),
            TensorId::weight(Role::EncOutputNorm, None).on(Side::Encoder),
            TensorId { suffix: Suffix::Scale, ..TensorId::weight(Role::FfnDownExps, Some(0)) },
        ];
        for id in ids {
            assert_eq!(TensorId::from_gguf_name(&id.gguf_name()), Some(id));
        }
        for name in
            ["blk.x.attn_q.weight", "attn_q.weight", "blk.1.output.weight", "blk.0.attn_q.gain", "output"]
        {
            assert_eq!(TensorId::from_gguf_name(name), None, "{name}");
        }
    }
}
