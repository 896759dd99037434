//! The computer that everything runs on.

/// What its processors have done since it started, in ticks: user, nice, system, idle, iowait, irq, softirq, steal
/// (proc(5)). Zeros where the operating system does not say.
pub fn processor_ticks() -> [u64; 8] {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let mut fields = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    std::array::from_fn(|_| fields.next().and_then(|field| field.parse().ok()).unwrap_or(0))
}

/// What others may take of the processors, from 0 to 1, before a figure that was measured meanwhile is not ours alone.
pub const STOLEN_MAX: f64 = 0.02;

/// What to say beside figures that were measured while others took this part of the processors, if it is too much.
pub fn disturbance(stolen: f64) -> Option<String> {
    let percent = stolen * 100.0;
    (stolen > STOLEN_MAX)
        .then(|| format!("others on this hardware took {percent:.0} % of the processors meanwhile: measure again"))
}

/// A stretch of time. Where the computer is a virtual one, others on the same hardware may have taken part of it, and a
/// figure measured meanwhile is theirs as well.
pub struct Stretch([u64; 8]);

impl Stretch {
    /// Begins now.
    pub fn begin() -> Self {
        Self(processor_ticks())
    }

    /// The part of all processors' time until now that others took, from 0 to 1.
    pub fn stolen(&self) -> f64 {
        let now = processor_ticks();
        let passed = |field: usize| now[field].saturating_sub(self.0[field]);
        let all: u64 = (0..now.len()).map(passed).sum();
        passed(7) as f64 / all.max(1) as f64
    }
}
