//! Finds a text in what comes piece by piece.

/// Looks for one text.
pub(super) struct Matcher {
    text: Vec<u8>,
    /// The end of what came so far, shorter than the text.
    tail: Vec<u8>,
}

impl Matcher {
    /// Looks for `text`; the empty one is found in the first piece.
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.as_bytes().to_vec(),
            tail: Vec::new(),
        }
    }

    /// True if the text ends in this piece or is in it.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> bool {
        self.tail.extend_from_slice(bytes);
        let length = self.text.len();
        if length == 0 || self.tail.windows(length).any(|w| w == self.text) {
            return true;
        }
        let keep = self.tail.len().min(length - 1);
        self.tail.drain(..self.tail.len() - keep);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_across_any_cut() {
        let said = b"Booting Linux on physical CPU";
        for cut in 0..said.len() {
            let mut matcher = Matcher::new("Linux on");
            let (first, second) = said.split_at(cut);
            assert!(matcher.feed(first) || matcher.feed(second), "cut at {cut}");
        }
    }

    #[test]
    fn other_text_is_not_found_and_memory_stays_small() {
        let mut matcher = Matcher::new("abc");
        for _ in 0..1000 {
            assert!(!matcher.feed(b"abab"));
        }
        assert!(matcher.tail.len() < 3);
        assert!(Matcher::new("").feed(b"x"));
    }
}
