//! Numbers that look random and are the same on every machine.

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`, which is above zero.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() >> 33) as usize % end
    }

    /// From 0 to 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Words between spaces, some of them often, about `bytes` bytes.
    pub fn text(&mut self, bytes: usize) -> String {
        const WORDS: [&str; 24] = [
            "many",
            "hands",
            "make",
            "light",
            "work",
            "the",
            "of",
            "and",
            "harbour",
            "2031-07-14",
            "lantern",
            "14.50",
            "quay",
            "ferry",
            "ines@example.org",
            "morning",
            "a",
            "ropes",
            "weather",
            "signal",
            "1999-12-31",
            "north",
            "keeper",
            "tide",
        ];
        let mut text = String::with_capacity(bytes + 16);
        while text.len() < bytes {
            // The smaller of two numbers, so that the first words come more often.
            let word = self.below(WORDS.len()).min(self.below(WORDS.len()));
            text.push_str(WORDS[word]);
            text.push(if self.below(12) == 0 { '\n' } else { ' ' });
        }
        text
    }
}

/// One number that depends on all of `values`.
pub fn checksum(values: impl IntoIterator<Item = u64>) -> u64 {
    let mix = |sum: u64, value: u64| (sum ^ value).wrapping_mul(0x100_0000_01B3).rotate_left(29);
    values.into_iter().fold(0xCBF2_9CE4_8422_2325, mix)
}
