/// Farther apart than this, a flash and a beep don't belong together.
const MAX_APART_S: f64 = 0.45;
/// How many pairs at the start and at the end are taken.
const PAIRS: usize = 10;

/// How far picture and sound are apart; positive where the sound is late.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LipSync {
    /// Number of flashes that have a beep.
    pub pairs: usize,
    /// Median over all pairs, in milliseconds.
    pub median_ms: f64,
    /// Median over the first ten pairs, in milliseconds.
    pub start_ms: f64,
    /// Median over the last ten pairs, in milliseconds.
    pub end_ms: f64,
    /// The pair farthest from the median, in milliseconds from zero.
    pub worst_ms: f64,
}

/// Pairs each flash with its nearest beep (both in seconds); `None` where no pair is found.
pub fn lip_sync(flashes_s: &[f64], beeps_s: &[f64]) -> Option<LipSync> {
    let offsets_ms: Vec<f64> = flashes_s
        .iter()
        .filter_map(|flash| {
            let offset = |beep: &f64| beep - flash;
            let nearest = beeps_s
                .iter()
                .map(offset)
                .min_by(|a, b| a.abs().total_cmp(&b.abs()))?;
            (nearest.abs() <= MAX_APART_S).then_some(nearest * 1000.0)
        })
        .collect();
    let ten = offsets_ms.len().min(PAIRS);
    let median_ms = median(&offsets_ms)?;
    Some(LipSync {
        pairs: offsets_ms.len(),
        median_ms,
        start_ms: median(&offsets_ms[..ten])?,
        end_ms: median(&offsets_ms[offsets_ms.len() - ten..])?,
        worst_ms: offsets_ms
            .iter()
            .copied()
            .max_by(|a, b| (a - median_ms).abs().total_cmp(&(b - median_ms).abs()))?,
    })
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted[sorted.len() / 2 - 1] + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_shows_between_start_and_end() {
        let flashes: Vec<f64> = (1..=40).map(f64::from).collect();
        let beeps: Vec<f64> = flashes
            .iter()
            .map(|flash| flash + 0.030 + flash * 0.001)
            .collect();
        let sync = lip_sync(&flashes, &beeps).unwrap();
        assert_eq!(sync.pairs, 40);
        assert!(
            (sync.start_ms - 35.5).abs() < 0.01 && (sync.end_ms - 65.5).abs() < 0.01,
            "{sync:?}"
        );
    }

    #[test]
    fn a_flash_without_a_beep_is_no_pair() {
        let sync = lip_sync(&[1.0, 2.0, 3.0], &[1.01, 3.01]).unwrap();
        assert_eq!(sync.pairs, 2);
        assert_eq!(lip_sync(&[1.0], &[]), None);
    }
}
