//! The one place that reads the machine's clock and its randomness.
//!
//! Everything that decides takes a [`Timestamp`] and an [`crate::plan::IdSource`]
//! instead; only the shell around it comes here.

use crate::model::Timestamp;

/// Wall-clock time of this host.
#[expect(
    clippy::disallowed_methods,
    reason = "time enters the program here and nowhere else"
)]
pub fn now() -> Timestamp {
    Timestamp::from(chrono::Utc::now())
}

/// Nanoseconds that no two starts of a process on one host share: a seed.
#[expect(
    clippy::disallowed_methods,
    reason = "randomness enters the program here and nowhere else"
)]
pub fn uuid() -> uuid::Uuid {
    uuid::Uuid::new_v4()
}

/// Bytes that nobody can guess, for tokens.
#[cfg(feature = "full")]
pub fn secret<const N: usize>() -> Result<[u8; N], ring::error::Unspecified> {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new().fill(&mut bytes)?;
    Ok(bytes)
}
