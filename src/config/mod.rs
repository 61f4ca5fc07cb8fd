//! Settings of a process, one struct per concern: where its files are, which
//! repository it was told to follow, how it is named.
//!
//! Flags and environment are read by `cli`; here they become values that were checked.

mod data_dir;
mod names;
mod source;

pub use data_dir::{DataDir, Error, RoleLock};
pub use names::node_name;
pub use source::{SourceFlagError, source_from_flag};
