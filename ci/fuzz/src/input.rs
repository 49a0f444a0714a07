//! Random numbers, and inputs made from others.

/// SplitMix64: enough for choices, and the same everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `end`, which is not 0.
    pub(crate) const fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }
}

/// Makes new inputs of old ones.
pub(crate) struct Mutator {
    random: Random,
    corpus: Vec<Vec<u8>>,
}

/// Longest input of random bytes.
const LONGEST: usize = 256;

impl Mutator {
    pub(crate) fn new(random: Random, corpus: Vec<Vec<u8>>) -> Self {
        Self { random, corpus }
    }

    pub(crate) fn next_input(&mut self) -> Vec<u8> {
        if self.corpus.is_empty() || self.random.below(8) == 0 {
            let len = self.random.below(LONGEST);
            return (0..len).map(|_| self.random.number() as u8).collect();
        }
        let mut input = self.pick();
        for _ in 0..=self.random.below(6) {
            self.change(&mut input);
        }
        input
    }

    fn pick(&mut self) -> Vec<u8> {
        let index = self.random.below(self.corpus.len());
        self.corpus[index].clone()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.random.below(input.len() + 1);
        let end = (at + self.random.below(16)).min(input.len());
        match self.random.below(7) {
            0 => input.truncate(at),
            1 => input.insert(at, self.random.number() as u8),
            2 => drop(input.drain(at..end)),
            3 => {
                let again = input[at..end].to_vec();
                drop(input.splice(at..at, again));
            }
            4 => {
                // A piece of another one.
                let other = self.pick();
                let from = self.random.below(other.len() + 1);
                let to = (from + self.random.below(64)).min(other.len());
                drop(input.splice(at..end, other[from..to].iter().copied()));
            }
            5 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = [0, 1, 0x7f, 0x80, 0xff][self.random.below(5)];
                }
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.random.below(8);
                }
            }
        }
    }
}

/// Reads an input as numbers; zeros when it is over.
pub(crate) struct Numbers<'a>(&'a [u8]);

impl<'a> Numbers<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    pub(crate) fn word(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    pub(crate) fn long(&mut self) -> u64 {
        u64::from(self.word()) | u64::from(self.word()) << 32
    }
}
