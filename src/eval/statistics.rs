//! Means with their standard errors, covariance and percentiles.

/// A number and its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// One standard deviation of it.
    pub error: f64,
}

/// A running mean and spread (Welford 1962: no cancellation between large sums).
#[derive(Clone, Copy, Debug, Default)]
pub struct Moments {
    n: u64,
    mean: f64,
    // The sum of squared distances from the mean.
    spread: f64,
}

impl Moments {
    /// Adds a value.
    pub fn push(&mut self, x: f64) {
        self.n += 1;
        let before = x - self.mean;
        self.mean += before / self.n as f64;
        self.spread += before * (x - self.mean);
    }

    /// How many values there are.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Their mean; 0 without values.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The variance of the mean, `(mean of squares - square of mean) / (n - 1)`; 0 for fewer than
    /// two values.
    pub fn variance_of_mean(&self) -> f64 {
        if self.n < 2 {
            return 0.0;
        }
        self.spread / self.n as f64 / (self.n - 1) as f64
    }

    /// The mean and its standard error.
    pub fn estimate(&self) -> Estimate {
        Estimate { value: self.mean(), error: self.variance_of_mean().sqrt() }
    }
}

impl Extend<f64> for Moments {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, values: I) {
        values.into_iter().for_each(|x| self.push(x));
    }
}

impl FromIterator<f64> for Moments {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut moments = Self::default();
        moments.extend(values);
        moments
    }
}

/// The covariance of the means of paired values, `(mean of products - product of means) / (n - 1)`;
/// 0 for fewer than two pairs.
pub fn covariance_of_means(pairs: impl IntoIterator<Item = (f64, f64)>) -> f64 {
    let (mut n, mut mean_x, mut mean_y, mut spread) = (0_u64, 0.0, 0.0, 0.0);
    for (x, y) in pairs {
        n += 1;
        let before = x - mean_x;
        mean_x += before / n as f64;
        mean_y += (y - mean_y) / n as f64;
        spread += before * (y - mean_y);
    }
    if n < 2 { 0.0 } else { spread / n as f64 / (n - 1) as f64 }
}

/// How many of `n` were successes, as a share with its standard error `sqrt(p (1 - p) / (n - 1))`.
pub fn share(successes: u64, n: u64) -> Estimate {
    let p = successes as f64 / n as f64;
    let error = if n < 2 { 0.0 } else { (p * (1.0 - p) / (n - 1) as f64).sqrt() };
    Estimate { value: p, error }
}

/// The value below which the share `fraction` (0 to 1) of `sorted` lies: linear interpolation at
/// `fraction * (n - 1)`.
///
/// # Panics
/// If `sorted` is empty.
pub fn percentile(sorted: &[f64], fraction: f64) -> f64 {
    let last = sorted.len() - 1;
    let position = fraction.clamp(0.0, 1.0) * last as f64;
    let below = (position as usize).min(last);
    let above = (below + 1).min(last);
    let weight = position - below as f64;
    (1.0 - weight) * sorted[below] + weight * sorted[above]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_error_is_that_of_the_mean() {
        let moments: Moments = [1.0, 2.0, 3.0, 6.0].into_iter().collect();
        // Mean 3, mean of squares 12.5, variance 3.5, over n - 1 = 3.
        assert_eq!(moments.estimate(), Estimate { value: 3.0, error: (14.0_f64 / 4.0 / 3.0).sqrt() });
    }

    #[test]
    fn one_value_or_equal_values_have_no_error() {
        assert_eq!([5.0].into_iter().collect::<Moments>().estimate().error, 0.0);
        assert_eq!([0.1; 7].into_iter().collect::<Moments>().estimate().error, 0.0);
    }

    #[test]
    fn covariance_of_a_value_with_itself_is_its_variance() {
        let values = [1.0, 2.0, 3.0, 6.0];
        let moments: Moments = values.into_iter().collect();
        let covariance = covariance_of_means(values.map(|x| (x, x)));
        assert!((covariance - moments.variance_of_mean()).abs() < 1e-12);
        let falling = covariance_of_means([(1.0, 4.0), (2.0, 2.0), (3.0, 0.0)]);
        assert!((falling + 2.0 / 3.0).abs() < 1e-12, "{falling}");
    }

    #[test]
    fn share_has_the_binomial_error() {
        assert_eq!(share(3, 4), Estimate { value: 0.75, error: 0.25 });
        assert_eq!(share(1, 1), Estimate { value: 1.0, error: 0.0 });
    }

    #[test]
    fn percentiles_interpolate_between_neighbours() {
        let sorted = [0.0, 10.0, 20.0, 40.0];
        assert_eq!(percentile(&sorted, 0.0), 0.0);
        assert_eq!(percentile(&sorted, 0.5), 15.0);
        assert_eq!(percentile(&sorted, 1.0), 40.0);
        assert!((percentile(&sorted, 0.9) - 34.0).abs() < 1e-12);
        assert_eq!(percentile(&[7.0], 0.3), 7.0);
    }
}
