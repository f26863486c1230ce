use super::*;

/// Everything off: draws from softmax(logits).
fn plain(seed: u64) -> SamplerOptions {
    SamplerOptions { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed, ..SamplerOptions::default() }
}

fn sampler(options: SamplerOptions) -> Sampler {
    Sampler::new(options).expect("the options are in range")
}

/// How often each token is drawn in `n` draws.
fn histogram(options: SamplerOptions, logits: &[f32], n: u32) -> Vec<f64> {
    let mut sampler = sampler(options);
    let mut counts = vec![0_u32; logits.len()];
    for _ in 0..n {
        counts[sampler.sample(logits).expect("finite logits") as usize] += 1;
    }
    counts.iter().map(|&count| f64::from(count) / f64::from(n)).collect()
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() < 0.01, "found {found:?}, expected {expected:?}");
    }
}

#[test]
fn draws_follow_the_softmax() {
    let logits = [0.5_f64, 0.3, 0.15, 0.05].map(|p| libm::log(p) as f32 + 3.0);
    assert_close(&histogram(plain(1), &logits, 40_000), &[0.5, 0.3, 0.15, 0.05]);
}

#[test]
fn temperature_flattens_after_the_filters_have_cut() {
    let logits = [0.64_f64, 0.16, 0.16, 0.04].map(|p| libm::log(p) as f32);
    // At temperature 2 the odds are the square roots: 0.8, 0.4, 0.4, 0.2.
    let warm = SamplerOptions { temperature: 2.0, ..plain(2) };
    assert_close(&histogram(warm.clone(), &logits, 40_000), &[0.8 / 1.8, 0.4 / 1.8, 0.4 / 1.8, 0.2 / 1.8]);
    // top-p looks at the unheated distribution, where the first three hold 0.96.
    let cut = SamplerOptions { top_p: 0.95, ..warm };
    assert_close(&histogram(cut, &logits, 40_000), &[0.5, 0.25, 0.25, 0.0]);
}

#[test]
fn top_p_looks_at_what_top_k_left() {
    let logits = [0.4_f64, 0.3, 0.2, 0.1].map(|p| libm::log(p) as f32);
    // Of the two left the first holds 4/7 = 0.571, so 0.57 is reached by it alone.
    let options = SamplerOptions { top_k: 2, top_p: 0.57, ..plain(3) };
    assert_close(&histogram(options, &logits, 1000), &[1.0, 0.0, 0.0, 0.0]);
    let options = SamplerOptions { top_k: 2, top_p: 0.58, ..plain(3) };
    assert_close(&histogram(options, &logits, 40_000), &[4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]);
}

#[test]
fn temperature_zero_takes_the_first_maximum() {
    let mut greedy = sampler(SamplerOptions { temperature: 0.0, ..SamplerOptions::default() });
    assert_eq!(greedy.sample(&[1.0, 5.0, 5.0, -2.0]), Ok(1));
    assert_eq!(greedy.sample(&[-0.0, 0.0]), Ok(0));
}

#[test]
fn penalties_change_the_greedy_choice() {
    let options = SamplerOptions {
        temperature: 0.0,
        repeat_penalty: 1.5,
        repeat_last_n: 2,
        ..SamplerOptions::default()
    };
    let mut greedy = sampler(options);
    greedy.accept(0);
    assert_eq!(greedy.sample(&[1.2, 1.0]), Ok(1));
    greedy.forget();
    assert_eq!(greedy.sample(&[1.2, 1.0]), Ok(0));
}

#[test]
fn banned_tokens_are_never_chosen() {
    let mut sampler = sampler(plain(4));
    sampler.ban(1);
    sampler.ban(99);
    assert!((0..1000).all(|_| sampler.sample(&[0.0, 30.0, 0.0]) != Ok(1)));
}

#[test]
fn equal_seeds_draw_equal_tokens_and_other_seeds_do_not() {
    let logits: Vec<f32> = (0..100).map(|i| (i * 37 % 11) as f32 / 4.0).collect();
    let drawn = |seed| {
        let mut sampler = sampler(SamplerOptions { seed, ..SamplerOptions::default() });
        (0..50).map(|_| sampler.sample(&logits).expect("finite")).collect::<Vec<_>>()
    };
    assert_eq!(drawn(42), drawn(42));
    assert_ne!(drawn(42), drawn(43));
}

#[test]
fn broken_logits_are_an_error() {
    for temperature in [0.0, 1.0] {
        let mut sampler = sampler(SamplerOptions { temperature, ..SamplerOptions::default() });
        assert_eq!(sampler.sample(&[0.0, f32::NAN]), Err(BadLogits::NotFinite { id: 1 }));
        assert_eq!(sampler.sample(&[f32::INFINITY, 0.0]), Err(BadLogits::NotFinite { id: 0 }));
        assert_eq!(sampler.sample(&[f32::NEG_INFINITY; 3]), Err(BadLogits::AllImpossible));
        assert_eq!(sampler.sample(&[]), Err(BadLogits::AllImpossible));
    }
}

#[test]
fn options_out_of_range_are_refused() {
    let wrong = [
        SamplerOptions { temperature: -0.1, ..plain(0) },
        SamplerOptions { temperature: f32::NAN, ..plain(0) },
        SamplerOptions { top_p: 1.1, ..plain(0) },
        SamplerOptions { min_p: -0.1, ..plain(0) },
        SamplerOptions { repeat_penalty: 0.0, ..plain(0) },
        SamplerOptions { presence_penalty: f32::INFINITY, ..plain(0) },
        SamplerOptions { frequency_penalty: f32::NAN, ..plain(0) },
    ];
    for options in wrong {
        assert!(matches!(Sampler::new(options.clone()), Err(Error::Usage { .. })), "{options:?}");
    }
}
