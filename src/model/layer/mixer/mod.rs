//! Recurrent mixers: parts that remember the positions before in a state of fixed size.
//!
//! Every float of a state, and of what leaves it, is computed by one thread, position by position: what a position
//! gets does not depend on the batch, nor on how it is divided.

mod channel_mix;
mod conv;
mod delta_net;
mod head_mamba;
mod heads;
mod kda;
mod lightning;
mod mamba1;
mod mamba2;
mod row_heads;
mod rwkv6;
mod rwkv7;
mod scratch;
mod short_conv;
mod token_shift;

pub(in crate::model) use channel_mix::{ChannelMix, Receptance};
pub(in crate::model) use conv::Conv;
pub(in crate::model) use delta_net::DeltaNet;
pub(in crate::model) use head_mamba::{HeadMamba, HeadMambaScratch};
pub(in crate::model) use kda::{Kda, KdaScratch};
pub(in crate::model) use lightning::Lightning;
pub(in crate::model) use mamba1::{Mamba1, Mamba1Scratch};
pub(in crate::model) use mamba2::Mamba2;
pub(in crate::model) use rwkv6::{Rwkv6, Rwkv6Scratch};
pub(in crate::model) use rwkv7::{Narrow, Rwkv7, Rwkv7Scratch};
pub(in crate::model) use scratch::{RecurrentNeeds, RecurrentScratch};
pub(in crate::model) use short_conv::ShortConv;
