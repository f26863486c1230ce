//! Going back in the text: to any position whose window is still there, else to a checkpoint. Where there are
//! recurrent mixers, only checkpoints are ways back, and each of them leads to its own position; and the trail of the
//! last steps, if they left one.

use std::iter;
use std::sync::Arc;

use super::KvCache;
use super::group::{Group, Held};
use crate::error::Result;
use crate::model::state::promises::Promise;
use crate::model::state::recurrent::State;

/// Checkpoints that a cache without recurrent mixers keeps; of more, the oldest goes.
const MAX_CHECKPOINTS: usize = 4;

/// Bytes of recurrent states that checkpoints hold, unless two of them take more: ten of a delta-net model of 4B.
const MAX_STATE_BYTES: u64 = 512 << 20;

/// Checkpoints with recurrent states that are kept where they are small.
const MAX_STATES: u64 = 32;

/// Positions after which a recurrent state is worth a checkpoint: about what is computed again if a text changes in
/// its middle, while there are few.
const INTERVAL: usize = 256;

/// Where one is asked for, so close behind another, it saves no more than these positions.
const CLOSE: usize = 64;

/// Of so many checkpoints with states, one may lie on the way through a text, once there is no room for all.
const ON_THE_WAY: usize = 4;

/// What a cache held when it was at some position.
#[derive(Clone, Debug)]
pub(super) struct Checkpoint {
    pub(super) n_past: usize,
    /// Whether it was asked for, as at the end of a prompt, and does not only lie on the way through a text.
    pub(super) is_border: bool,
    /// `[n_groups]`: `None` for groups that drop nothing.
    pub(super) held: Vec<Option<Held>>,
    /// Of the recurrent mixers.
    pub(super) state: Option<Arc<State>>,
}

/// How far a cache can go back.
#[derive(Clone, Copy, Debug)]
pub(super) struct WayBack {
    /// Positions that are kept.
    pub(super) n_past: usize,
    /// The checkpoint that has their windows; `None` if the groups do.
    checkpoint: Option<usize>,
}

impl KvCache {
    /// Remembers what it holds, so that [`KvCache::rewind`] can come back to this position. That takes no
    /// memory at once, but chunks that a checkpoint has are not used again: the positions that follow take
    /// others. Does nothing where all positions are held anyway.
    pub fn checkpoint(&mut self) {
        self.remember(true);
    }

    /// As [`KvCache::checkpoint`], where [`KvCache::is_checkpoint_due`]: texts part here no more often than elsewhere.
    pub fn checkpoint_on_the_way(&mut self) {
        self.remember(false);
    }

    fn remember(&mut self, is_border: bool) {
        if let Some(last) = self.checkpoints.last_mut().filter(|last| last.n_past == self.n_past) {
            last.is_border |= is_border;
            return;
        }
        if self.n_past == 0 || self.goes_anywhere() {
            return;
        }
        // A full list takes no more memory: the list of what the dropped one held serves again.
        let mut held = if self.checkpoints.len() >= self.max_checkpoints() {
            self.drop_checkpoint(self.least_missed())
        } else {
            Vec::new()
        };
        let n_past = self.n_past;
        self.recurrent.forget_trail();
        held.extend(self.groups.iter().map(|group| group.drops().then(|| group.held(n_past))));
        self.checkpoints.push(Checkpoint { n_past, is_border, held, state: self.recurrent.share() });
    }

    /// Whether all positions are held anyway.
    fn goes_anywhere(&self) -> bool {
        !self.recurrent.is_any() && !self.groups.iter().any(Group::drops)
    }

    /// Whether so many positions were appended since the last checkpoint that another is due: some hundreds, if
    /// there are recurrent mixers. One takes [`KvCache::missing_bytes`] of the next position.
    pub fn is_checkpoint_due(&self) -> bool {
        self.n_before_checkpoint() == 0
    }

    fn max_checkpoints(&self) -> usize {
        match self.recurrent.n_bytes() {
            0 => MAX_CHECKPOINTS,
            n_bytes => (MAX_STATE_BYTES / n_bytes).clamp(2, MAX_STATES) as usize,
        }
    }

    /// The checkpoint that is given up for another: the oldest; of recurrent states, whose windows are not between
    /// them, one that was asked for close behind another, else one on the way, as long as these are more than a few,
    /// else one that was asked for. Of several it is that without which the way from one to the next is shortest. The
    /// last stays.
    ///
    /// Conversations part where prompts end: a template drops what was thought there, or a message is edited.
    fn least_missed(&self) -> usize {
        if !self.recurrent.is_any() {
            return 0;
        }
        let all = &self.checkpoints;
        let n_past = |i: usize| all[i].n_past;
        let gap = |&i: &usize| n_past(i + 1) - if i == 0 { 0 } else { n_past(i - 1) };
        let earlier = 0..all.len() - 1;
        let is_close = |&i: &usize| {
            i > 0 && all[i - 1].is_border && all[i].is_border && n_past(i) - n_past(i - 1) <= CLOSE
        };
        if let Some(close) = earlier.clone().filter(is_close).min_by_key(gap) {
            return close;
        }
        let n_on_the_way = earlier.clone().filter(|&i| !all[i].is_border).count();
        let gives_up_borders = n_on_the_way <= self.max_checkpoints() / ON_THE_WAY;
        let of_kind = earlier.clone().filter(|&i| all[i].is_border == gives_up_borders);
        of_kind.min_by_key(gap).or_else(|| earlier.min_by_key(gap)).unwrap_or(0)
    }

    /// Gives the memory of all checkpoints back; returns whether there were any.
    pub fn forget_checkpoints(&mut self) -> bool {
        let are_there = !self.checkpoints.is_empty();
        self.checkpoints.clear();
        are_there
    }

    /// How many of the first `n` positions [`KvCache::rewind`] would keep.
    pub fn reach(&self, n: usize) -> usize {
        if self.has_trail_to(n) { n } else { self.way_back(n).n_past }
    }

    fn has_trail_to(&self, n: usize) -> bool {
        self.recurrent.has_trail_to(n) && self.holds_windows(n)
    }

    /// Whether all windows that positions from `n` on see are held.
    pub fn holds_windows(&self, n: usize) -> bool {
        self.groups.iter().all(|group| group.reaches(n))
    }

    /// Bytes that room for the states after up to `most` positions takes, and how many there is to be room for; 0 if there
    /// is already, or no recurrent mixer.
    pub fn trail_bytes(&self, most: usize) -> (u64, usize) {
        if !self.recurrent.is_any() {
            return (0, 0);
        }
        let n_rows = self.recurrent.trail_rows(most);
        (self.recurrent.n_bytes().saturating_mul(n_rows as u64), n_rows)
    }

    /// Makes room for the states after `n` positions, so that steps can leave a trail; `promise` has the bytes.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses the memory.
    pub fn reserve_trail(&mut self, n: usize, promise: Promise) -> Result<()> {
        self.recurrent.reserve_trail(n, promise)
    }

    /// Positions of a step that [`KvCache::rewind`] can go back over, if the step leaves a trail: [`usize::MAX`] without
    /// recurrent mixers.
    pub fn n_trail(&self) -> usize {
        if self.recurrent.is_any() { self.recurrent.n_trail() } else { usize::MAX }
    }

    /// Lets the next positions that are appended leave the states after each of them behind: [`KvCache::rewind`] then
    /// goes back to any of the last [`KvCache::n_trail`].
    pub fn leave_trail(&mut self) {
        self.recurrent.leave_trail();
    }

    /// Forgets the ways back that [`KvCache::leave_trail`] made.
    pub fn forget_trail(&mut self) {
        self.recurrent.forget_trail();
    }

    /// Positions that can be appended before a checkpoint is due; [`usize::MAX`] if none ever is.
    pub fn n_before_checkpoint(&self) -> usize {
        if !self.recurrent.is_any() {
            return usize::MAX;
        }
        let last = self.checkpoints.last().map_or(0, |last| last.n_past);
        (last + INTERVAL).saturating_sub(self.n_past)
    }

    /// Forgets the positions from `n` on, and as many before as it takes to have whole windows and the states of
    /// recurrent mixers: layers without either can go back anywhere, those with a window as far as they hold the
    /// window before, or to a checkpoint, or to the beginning. Returns how many positions are kept. The chunks stay reserved, in memory
    /// where they were filled.
    pub fn rewind(&mut self, n: usize) -> usize {
        if self.has_trail_to(n) {
            self.recurrent.go_back(n);
            self.cut(n);
            return n;
        }
        let WayBack { n_past, checkpoint } = self.way_back(n);
        if let Some(i) = checkpoint {
            let checkpoint = &mut self.checkpoints[i];
            checkpoint.n_past = n_past;
            if let Some(state) = &checkpoint.state {
                self.recurrent.restore(state);
            }
            for (group, held) in self.groups.iter_mut().zip(&mut checkpoint.held) {
                if let Some(held) = held {
                    group.restore(n_past, held);
                    held.cut(n_past).for_each(|chunk| group.give_back(chunk));
                }
            }
        }
        if n_past == 0 {
            self.recurrent.clear();
        }
        self.cut(n_past);
        n_past
    }

    /// Counts `n_past` positions, and forgets the checkpoints behind them.
    fn cut(&mut self, n_past: usize) {
        while let Some(later) = self.checkpoints.iter().position(|checkpoint| checkpoint.n_past > n_past) {
            self.drop_checkpoint(later);
        }
        self.n_past = n_past;
    }

    pub(super) fn way_back(&self, n: usize) -> WayBack {
        let n = n.min(self.n_past);
        let is_state_of = |n: usize| n == 0 || n == self.n_past && !self.recurrent.is_spoiled();
        let has_state = !self.recurrent.is_any() || is_state_of(n);
        if has_state && self.holds_windows(n) {
            return WayBack { n_past: n, checkpoint: None };
        }
        // The newest first: of several that keep as much, the last is taken, which is the oldest.
        let ways = self.checkpoints.iter().enumerate().rev().filter_map(|(i, checkpoint)| {
            let n_past = n.min(checkpoint.n_past);
            let has_state = checkpoint.state.is_none() || n_past == checkpoint.n_past;
            let is_way = has_state
                && self.groups.iter().zip(&checkpoint.held).all(|(group, held)| match held {
                    Some(held) => group.reaches_with(held, n_past),
                    None => group.reaches(n_past),
                });
            is_way.then_some(WayBack { n_past, checkpoint: Some(i) })
        });
        let nowhere = WayBack { n_past: 0, checkpoint: None };
        ways.max_by_key(|way| way.n_past).unwrap_or(nowhere)
    }

    /// What each group needs to go on at the end of `way`.
    pub(super) fn held(&self, way: WayBack) -> Vec<Held> {
        let of_checkpoint = way.checkpoint.map(|i| self.checkpoints[i].held.as_slice());
        let of_checkpoint = of_checkpoint.unwrap_or_default().iter().map(Option::as_ref);
        let groups = self.groups.iter().zip(of_checkpoint.chain(iter::repeat(None)));
        groups.map(|(group, held)| held.cloned().unwrap_or_else(|| group.held(way.n_past))).collect()
    }

    /// The states of the recurrent mixers at the end of `way`; `None` if there are none or no positions.
    pub(super) fn state_of(&self, way: WayBack) -> Option<Arc<State>> {
        match way.checkpoint {
            Some(i) => self.checkpoints[i].state.clone(),
            None => self.recurrent.share().filter(|_| way.n_past > 0),
        }
    }

    /// The checkpoints of the first `n_past` positions.
    pub(super) fn checkpoints_within(&self, n_past: usize) -> Vec<Checkpoint> {
        self.checkpoints.iter().filter(|checkpoint| checkpoint.n_past <= n_past).cloned().collect()
    }

    /// Forgets a checkpoint; its chunks are used again. Returns the list of what it held, emptied.
    fn drop_checkpoint(&mut self, i: usize) -> Vec<Option<Held>> {
        let mut checkpoint = self.checkpoints.remove(i);
        for (group, held) in self.groups.iter_mut().zip(&mut checkpoint.held) {
            held.iter_mut().flat_map(|held| held.cut(0)).for_each(|chunk| group.give_back(chunk));
        }
        if let Some(state) = checkpoint.state {
            self.recurrent.give_back(state);
        }
        checkpoint.held.clear();
        checkpoint.held
    }
}
