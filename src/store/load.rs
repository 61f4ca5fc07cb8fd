//! Reading the whole cluster state back.

use super::{Error, Store};
use crate::model::Snapshot;

impl Store {
    /// The cluster state as of one moment.
    pub async fn load(&self) -> Result<Snapshot, Error> {
        Err(Error::corrupt("load", "not built yet"))
    }
}
