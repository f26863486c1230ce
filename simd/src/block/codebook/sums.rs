//! What entries gain for the groups of a sub-block: step 1 of [`super::search`], and what its other steps ask.

use super::{Codebook, Marks, Rule};
use crate::array;
use crate::block::k::SUPER_LEN;
use crate::wide::{LANES, Wide};

/// Scales of a sub-block tried first, as multiples of that which gives its largest weight the greatest code.
const STARTS: [f32; 8] = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.12, 1.3];

/// How often a scale of a sub-block moves to the least-squares one.
const ROUNDS: usize = 2;

/// A super-block to encode.
pub(super) struct Target {
    /// The weights over `unit`.
    pub(super) x: [f32; SUPER_LEN],
    /// How much their errors count.
    pub(super) w: [f32; SUPER_LEN],
    pub(super) unit: f32,
}

impl Target {
    /// Whether an odd number of the eight weights from `first` on are negative.
    #[inline(always)]
    pub(super) fn is_odd(&self, first: usize) -> bool {
        self.x[first..first + 8].iter().filter(|x| **x < 0.0).count() % 2 == 1
    }
}

/// Of all entries `a` and `b` for each group of a sub-block, with either of the faces that marks can give it: for
/// signs those that are best, and those with one changed; for marks that raise, without and with them.
pub(super) struct Sums<V, const CHUNKS: usize, const N: usize, const LEN: usize> {
    a: [[[V; CHUNKS]; N]; 2],
    b: [[[V; CHUNKS]; N]; 2],
    /// Whether one sign of each two groups must change.
    is_odd: [bool; N],
    largest: f32,
}

/// The best codes of a sub-block for some scale.
pub(super) struct Pick<const N: usize> {
    pub(super) indices: [u16; N],
    pub(super) faces: [bool; N],
    pub(super) a: f32,
    pub(super) b: f32,
}

impl<V: Wide, const CHUNKS: usize, const N: usize, const LEN: usize> Sums<V, CHUNKS, N, LEN> {
    #[inline(always)]
    pub(super) fn empty(isa: V::Proof) -> Self {
        let zeros = [[[V::splat(isa, 0.0); CHUNKS]; N]; 2];
        Self { a: zeros, b: zeros, is_odd: [false; N], largest: 0.0 }
    }

    /// Computes them for the sub-block that begins at weight `first`.
    #[inline(always)]
    pub(super) fn load<C: Codebook<B>, const B: usize>(&mut self, target: &Target, first: usize) {
        let isa = self.a[0][0][0].proof();
        let zero = V::splat(isa, 0.0);
        self.largest = 0.0;
        for x in &target.x[first..first + N * LEN] {
            self.largest = if x.abs() > self.largest { x.abs() } else { self.largest };
        }
        for g in 0..N {
            let at = first + LEN * g;
            let is_odd = target.is_odd(at / 8 * 8);
            self.is_odd[g] = is_odd;
            let (mut wx, mut w, mut sum_wx, mut sum_w) = ([zero; LEN], [zero; LEN], 0.0, 0.0);
            for i in 0..LEN {
                let (x, weight) = (target.x[at + i], target.w[at + i]);
                let product = weight * if C::MARKS == Marks::Negate { x.abs() } else { x };
                (wx[i], w[i]) = (V::splat(isa, product), V::splat(isa, weight));
                (sum_wx, sum_w) = (sum_wx + product, sum_w + weight);
            }
            let (twice, four) = (V::splat(isa, 2.0), V::splat(isa, 4.0));
            let (raised_x, raised_w) = (V::splat(isa, 4.0 * sum_wx), V::splat(isa, 4.0 * sum_w));
            for c in 0..CHUNKS {
                let (mut a, mut b, mut linear) = (zero, zero, zero);
                let mut least = V::splat(isa, f32::INFINITY);
                for i in 0..LEN {
                    let code = V::load(isa, &C::COLUMNS[LEN * c + i]);
                    let (product, weighed) = (wx[i] * code, w[i] * code);
                    a = a + product;
                    b = weighed.mul_add(code, b);
                    least = least.min(product);
                    linear = linear + weighed;
                }
                let a = a * twice;
                let changed = a - least * four;
                let one_sign_changes = C::RULE == Rule::EvenOfEight && is_odd;
                self.a[0][g][c] = if one_sign_changes { changed } else { a };
                self.b[0][g][c] = b;
                match C::RULE {
                    Rule::Free | Rule::EvenOfEight => {}
                    Rule::EvenOfTwo => (self.a[1][g][c], self.b[1][g][c]) = (changed, b),
                    Rule::Together | Rule::Each => {
                        (self.a[1][g][c], self.b[1][g][c]) =
                            (a + raised_x, linear.mul_add(four, b + raised_w));
                    }
                }
            }
        }
    }

    /// In every lane the most that a group gains with a face, over the scale whose negative is `minus_t`.
    #[inline(always)]
    fn most(&self, face: usize, g: usize, minus_t: V) -> V {
        let (a, b) = (&self.a[face][g], &self.b[face][g]);
        let mut most = b[0].mul_add(minus_t, a[0]);
        for c in 1..CHUNKS {
            most = b[c].mul_add(minus_t, a[c]).max(most);
        }
        most.max_runs(LANES)
    }

    /// The most that the sub-block gains with the scale `t`.
    #[inline(always)]
    pub(super) fn gain(&self, rule: Rule, t: f32) -> f32 {
        let isa = self.a[0][0][0].proof();
        let minus_t = V::splat(isa, -t);
        let (mut sum, mut second) = (V::splat(isa, 0.0), V::splat(isa, 0.0));
        for g in 0..N {
            match rule {
                Rule::Free | Rule::EvenOfEight => sum = sum + self.most(0, g, minus_t),
                Rule::Each => sum = sum + self.most(0, g, minus_t).max(self.most(1, g, minus_t)),
                Rule::Together => {
                    sum = sum + self.most(0, g, minus_t);
                    second = second + self.most(1, g, minus_t);
                }
                Rule::EvenOfTwo if g % 2 == 1 => {}
                Rule::EvenOfTwo => {
                    let plain = [self.most(0, g, minus_t), self.most(0, g + 1, minus_t)];
                    sum = sum
                        + if self.is_odd[g] {
                            let changed = [self.most(1, g, minus_t), self.most(1, g + 1, minus_t)];
                            (changed[0] + plain[1]).max(plain[0] + changed[1])
                        } else {
                            plain[0] + plain[1]
                        };
                }
            }
        }
        let sum = if rule == Rule::Together { sum.max(second) } else { sum };
        t * sum.store()[0]
    }

    /// The entry of a group that gains most with a face, and what it gains over the scale; the first of equals.
    #[inline(always)]
    fn best(&self, face: usize, g: usize, minus_t: V) -> (u16, f32) {
        let isa = minus_t.proof();
        let (a, b) = (&self.a[face][g], &self.b[face][g]);
        let (mut most, mut chunks) = (b[0].mul_add(minus_t, a[0]), V::splat(isa, 0.0));
        for c in 1..CHUNKS {
            let gain = b[c].mul_add(minus_t, a[c]);
            chunks = most.less_then_else(gain, V::splat(isa, c as f32), chunks);
            most = gain.max(most);
        }
        let (most, chunks) = (most.store(), chunks.store());
        let index = |l: usize| chunks[l] as u16 * LANES as u16 + l as u16;
        let mut best = 0;
        for l in 1..LANES {
            let is_first = most[l] == most[best] && index(l) < index(best);
            best = if most[l] > most[best] || is_first { l } else { best };
        }
        (index(best), most[best])
    }

    /// [`Self::best`] of every group. A loop: a closure of this size is not inlined, is compiled without the CPU
    /// features of its tier, and calls a function for each vector operation.
    #[inline(always)]
    fn best_of_all(&self, face: usize, minus_t: V) -> [(u16, f32); N] {
        let mut best = [(0, 0.0); N];
        for (g, best) in best.iter_mut().enumerate() {
            *best = self.best(face, g, minus_t);
        }
        best
    }

    /// The codes that gain most with the scale `t`.
    #[inline(always)]
    pub(super) fn pick(&self, rule: Rule, t: f32) -> Pick<N> {
        let isa = self.a[0][0][0].proof();
        let minus_t = V::splat(isa, -t);
        let plain = self.best_of_all(0, minus_t);
        let mut faces = [false; N];
        let mut indices: [u16; N] = array::build(|g| plain[g].0);
        if matches!(rule, Rule::EvenOfTwo | Rule::Together | Rule::Each) {
            let second = self.best_of_all(1, minus_t);
            let total = |all: &[(u16, f32); N]| all.iter().fold(0.0, |sum, (_, gain)| sum + gain);
            let is_second = total(&second) > total(&plain);
            for g in 0..N {
                let other = g ^ 1;
                faces[g] = match rule {
                    Rule::Free | Rule::EvenOfEight => false,
                    Rule::Each => second[g].1 > plain[g].1,
                    Rule::Together => is_second,
                    Rule::EvenOfTwo => {
                        let (here, there) = (second[g].1 + plain[other].1, plain[g].1 + second[other].1);
                        // One of both groups, the first of them if it makes no difference.
                        self.is_odd[g] && (here > there || here == there && g < other)
                    }
                };
                indices[g] = if faces[g] { second[g].0 } else { indices[g] };
            }
        }
        let (mut a, mut b) = (0.0, 0.0);
        for g in 0..N {
            let (face, index) = (usize::from(faces[g]), usize::from(indices[g]));
            a += self.a[face][g][index / LANES].store()[index % LANES];
            b += self.b[face][g][index / LANES].store()[index % LANES];
        }
        Pick { indices, faces, a, b }
    }

    /// The real scale that gains most, as far as it was looked for; zero for zeros.
    #[inline(always)]
    pub(super) fn fit(&self, rule: Rule, top: f32) -> f32 {
        if self.largest == 0.0 {
            return 0.0;
        }
        let (mut best, mut most) = (0.0, 0.0);
        for start in STARTS {
            let t = self.largest / top * start;
            let gain = self.gain(rule, t);
            (best, most) = if gain > most { (t, gain) } else { (best, most) };
        }
        for _ in 0..ROUNDS {
            let Pick { a, b, .. } = self.pick(rule, best);
            let t = if b > 0.0 && a > 0.0 { a / (2.0 * b) } else { best };
            let gain = self.gain(rule, t);
            (best, most) = if gain > most { (t, gain) } else { (best, most) };
        }
        best
    }
}
