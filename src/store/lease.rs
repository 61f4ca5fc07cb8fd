//! Leadership: one row, by the database's clock.

use std::time::Duration;

use super::{Epoch, Error, Store};

/// A leadership as the database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who leads: unique per process.
    pub holder: String,
    /// Where followers reach the leader.
    pub address: String,
    /// Grows with every acquisition.
    pub epoch: Epoch,
    /// Time left when the database answered; count it from before the call.
    pub expires_in: Duration,
}

impl Store {
    /// Takes the lease if nobody holds it, it has expired, or `holder` has it already.
    /// Each acquisition is a new epoch. `None`: somebody else leads.
    pub async fn acquire_lease(
        &self,
        holder: &str,
        address: &str,
        ttl: Duration,
    ) -> Result<Option<Lease>, Error> {
        let _ = (holder, address, ttl);
        Err(Error::corrupt("acquire lease", "not built yet"))
    }

    /// Prolongs it to `ttl` from now. `StaleEpoch`: it was lost.
    pub async fn renew_lease(&self, epoch: Epoch, ttl: Duration) -> Result<Lease, Error> {
        let _ = (epoch, ttl);
        Err(Error::corrupt("renew lease", "not built yet"))
    }

    /// Gives it up, so that another can lead at once. `StaleEpoch`: it was lost already.
    pub async fn release_lease(&self, epoch: Epoch) -> Result<(), Error> {
        let _ = epoch;
        Err(Error::corrupt("release lease", "not built yet"))
    }

    /// Who leads now; `None`: nobody, or the lease has expired.
    pub async fn current_lease(&self) -> Result<Option<Lease>, Error> {
        Err(Error::corrupt("current lease", "not built yet"))
    }
}
