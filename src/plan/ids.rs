//! Ids and random choices from a seed that comes in with the input.

use uuid::Uuid;

/// A SplitMix64 sequence (Steele, Lea, Flood 2014): the same seed gives the same ids.
#[derive(Clone, Debug)]
pub struct IdSource(u64);

impl IdSource {
    pub fn new(seed: u64) -> IdSource {
        IdSource(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A version 4 UUID.
    pub fn next_uuid(&mut self) -> Uuid {
        let high = u128::from(self.next_u64()) << 64;
        uuid::Builder::from_random_bytes((high | u128::from(self.next_u64())).to_be_bytes())
            .into_uuid()
    }
}
