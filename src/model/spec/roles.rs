//! The parts that tensors play, and what files call them.

use super::side::Side;

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
            pub(super) fn stem(self) -> &'static str {
                match self { $(Self::$role => $stem,)* }
            }

            pub(super) fn from_stem(stem: &str) -> Option<Self> {
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
    HcHeadNorm "output_hc_norm" model;
    HcHeadDown "output_hc_down" model;
    HcHeadUp "output_hc_up" model;
    HcHeadFn "output_hc_fn" model;
    HcHeadScale "output_hc_scale" model;
    HcHeadBase "output_hc_base" model;
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
    HcAttnNorm "hc_attn_norm" layer;
    HcAttnDown "hc_attn_down" layer;
    HcAttnUp "hc_attn_up" layer;
    HcAttnInject "hc_attn_inject" layer;
    HcAttnFn "hc_attn_fn" layer;
    HcAttnScale "hc_attn_scale" layer;
    HcAttnBase "hc_attn_base" layer;
    HcFfnNorm "hc_ffn_norm" layer;
    HcFfnDown "hc_ffn_down" layer;
    HcFfnUp "hc_ffn_up" layer;
    HcFfnInject "hc_ffn_inject" layer;
    HcFfnFn "hc_ffn_fn" layer;
    HcFfnScale "hc_ffn_scale" layer;
    HcFfnBase "hc_ffn_base" layer;
    PleKey "ple_key" layer;
    PleValue "ple_value" layer;
    PleNormKey "ple_norm_key" layer;
    PleNormQuery "ple_norm_query" layer;
    PleNormConv "ple_norm_conv" layer;
    PleConv "ple_conv1d" layer;
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
    IndexerPoolGate "indexer_compressor_gate" layer;
    IndexerPoolBase "indexer_compressor_ape" layer;
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

    /// What its GGUF name consists of among the layers of `side`: T5's files call one part otherwise.
    pub(super) fn stem_on(self, side: Side) -> &'static str {
        match (self, side) {
            (Self::AttnOutput, Side::Encoder) => "attn_o",
            _ => self.stem(),
        }
    }

    pub(super) fn from_stem_on(side: Side, stem: &str) -> Option<Self> {
        match (side, stem) {
            (Side::Encoder, "attn_o") => Some(Self::AttnOutput),
            _ => Self::from_stem(stem).filter(|role| role.stem_on(side) == stem),
        }
    }

    /// Whether its names may have no suffix, and whether they may have one.
    pub(super) fn suffixes(self) -> (bool, bool) {
        match self {
            Self::SsmA | Self::SsmD => (true, false),
            // Without one in Falcon-H1, in Hunyuan 3 and in PLaMo 2 and 3.
            Self::FfnNorm | Self::ExpProbs | Self::AttnPostNorm | Self::FfnPostNorm => (true, true),
            Self::SsmDtNorm | Self::SsmBNorm | Self::SsmCNorm => (true, true),
            _ => (false, true),
        }
    }
}
