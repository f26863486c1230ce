//! Spends bytes where they reduce a sum of losses most.

/// What a tensor may become: how many bytes that takes, and what it loses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Offer {
    pub(super) n_bytes: u64,
    pub(super) loss: f64,
}

/// Chooses one of the offers of each tensor so that all together take at most `budget` bytes and lose as little as
/// a search by steepest descent finds: along the lower convex hull of each tensor's offers, which is the solution of
/// the relaxed problem, and then whatever fits into the rest.
///
/// # Errors
/// The least bytes that suffice, if these are more.
///
/// # Panics
/// If a tensor has no offers.
pub(super) fn allocate(tensors: &[Vec<Offer>], budget: u64) -> Result<Vec<usize>, u64> {
    let hulls: Vec<Vec<usize>> = tensors.iter().map(|offers| hull(offers)).collect();
    let mut chosen: Vec<usize> = hulls.iter().map(|hull| hull[0]).collect();
    let mut left = match budget.checked_sub(taken(tensors, &chosen)) {
        Some(left) => left,
        None => return Err(taken(tensors, &chosen)),
    };
    let mut steps: Vec<(f64, usize, usize)> = Vec::new();
    for (tensor, hull) in hulls.iter().enumerate() {
        for (at, pair) in hull.windows(2).enumerate() {
            steps.push((gain(&tensors[tensor], pair[0], pair[1]), tensor, at + 1));
        }
    }
    steps.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let mut is_full = vec![false; tensors.len()];
    for (_, tensor, at) in steps {
        let (offers, next) = (&tensors[tensor], hulls[tensor][at]);
        let more = offers[next].n_bytes - offers[chosen[tensor]].n_bytes;
        if !is_full[tensor] && more <= left {
            left -= more;
            chosen[tensor] = next;
        } else {
            // Later steps of this tensor follow from this one.
            is_full[tensor] = true;
        }
    }
    while let Some((tensor, next)) = best_that_fits(tensors, &chosen, left) {
        left -= tensors[tensor][next].n_bytes - tensors[tensor][chosen[tensor]].n_bytes;
        chosen[tensor] = next;
    }
    Ok(chosen)
}

fn taken(tensors: &[Vec<Offer>], chosen: &[usize]) -> u64 {
    tensors.iter().zip(chosen).map(|(offers, &i)| offers[i].n_bytes).sum()
}

/// Loss that a byte saves in going from one offer to a larger one.
fn gain(offers: &[Offer], from: usize, to: usize) -> f64 {
    let n_bytes = offers[to].n_bytes - offers[from].n_bytes;
    (offers[from].loss - offers[to].loss) / n_bytes as f64
}

/// The offers on the lower convex hull, from few bytes to many: each loses less than the one before, and a byte
/// saves less from step to step.
fn hull(offers: &[Offer]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..offers.len()).collect();
    order.sort_by(|&a, &b| {
        offers[a].n_bytes.cmp(&offers[b].n_bytes).then(offers[a].loss.total_cmp(&offers[b].loss))
    });
    let mut hull: Vec<usize> = Vec::new();
    for next in order {
        if hull.last().is_some_and(|&last| offers[next].loss >= offers[last].loss) {
            continue;
        }
        while let [.., before, last] = hull[..]
            && gain(offers, before, last) <= gain(offers, last, next)
        {
            hull.pop();
        }
        hull.push(next);
    }
    hull
}

/// The change of one tensor to larger offer that fits into `left` bytes and saves most.
fn best_that_fits(tensors: &[Vec<Offer>], chosen: &[usize], left: u64) -> Option<(usize, usize)> {
    let mut best: Option<(f64, usize, usize)> = None;
    for (tensor, offers) in tensors.iter().enumerate() {
        let now = offers[chosen[tensor]];
        for (next, offer) in offers.iter().enumerate() {
            let fits = offer.n_bytes > now.n_bytes && offer.n_bytes - now.n_bytes <= left;
            let saved = now.loss - offer.loss;
            if fits && saved > best.map_or(0.0, |(most, ..)| most) {
                best = Some((saved, tensor, next));
            }
        }
    }
    best.map(|(_, tensor, next)| (tensor, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(list: &[(u64, f64)]) -> Vec<Offer> {
        list.iter().map(|&(n_bytes, loss)| Offer { n_bytes, loss }).collect()
    }

    fn loss(tensors: &[Vec<Offer>], chosen: &[usize]) -> f64 {
        tensors.iter().zip(chosen).map(|(offers, &i)| offers[i].loss).sum()
    }

    #[test]
    fn a_hull_leaves_out_what_is_dominated_or_above_it() {
        let offers = offers(&[(40, 1.0), (10, 9.0), (20, 8.5), (30, 2.0), (35, 2.5), (10, 9.5)]);
        assert_eq!(hull(&offers), [1, 3, 0]);
    }

    #[test]
    fn what_is_chosen_fits_and_is_nearly_the_best_of_all() {
        let mut state = 7_u64;
        let mut random = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        for _ in 0..200 {
            let tensors: Vec<Vec<Offer>> = (0..5)
                .map(|_| {
                    let weight = (1 + random(100)) as f64;
                    let sizes = [2, 3, 4, 6].map(|bits: u64| bits * (10 + random(3)));
                    sizes
                        .map(|n| Offer { n_bytes: n, loss: weight * (0.25_f64).powf(n as f64 / 10.0) })
                        .to_vec()
                })
                .collect();
            let budget = 100 + random(250);
            // Every combination.
            let all =
                (0..4_usize.pow(5)).map(|code| (0..5).map(|i| code / 4_usize.pow(i) % 4).collect::<Vec<_>>());
            let fitting = all.filter(|chosen| taken(&tensors, chosen) <= budget);
            let best = fitting.map(|chosen| loss(&tensors, &chosen)).min_by(f64::total_cmp);
            match allocate(&tensors, budget) {
                Ok(chosen) => {
                    assert!(taken(&tensors, &chosen) <= budget);
                    assert!(loss(&tensors, &chosen) <= 1.6 * best.expect("there is one") + 1e-12);
                }
                Err(least) => assert!(best.is_none() && least > budget),
            }
        }
    }
}
