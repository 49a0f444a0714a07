//! Figures of several rounds.

/// The middle of some values; none of none.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// A figure with so many digits, or a dash.
pub(super) fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// The middle with the least and the most, or a dash.
pub(super) fn spread(values: &[f64]) -> String {
    let Some(middle) = median(values.to_vec()) else {
        return "-".to_owned();
    };
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    format!("{middle:.3} ({least:.3}-{most:.3})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_told_with_the_least_and_the_most() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), "2.000 (1.000-3.000)");
        assert_eq!(
            (spread(&[]), shown(None, 1)),
            ("-".to_owned(), "-".to_owned())
        );
        assert_eq!(shown(median(vec![2.26]), 1), "2.3");
    }
}
