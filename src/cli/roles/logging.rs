//! Log lines to standard error, as text or JSON. `EVENKEEL_LOG` chooses what
//! (`debug`, `info,evenkeel::controller=debug`).

use tracing_subscriber::EnvFilter;

use super::{LogArgs, LogFormat};

const FILTER: &str = "info,sqlx=warn,hyper=warn,bollard=warn";

/// The first call in a process counts; later ones do nothing.
pub fn start(args: &LogArgs) {
    let filter = EnvFilter::try_from_env("EVENKEEL_LOG").unwrap_or_else(|_| EnvFilter::new(FILTER));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // An error means that somebody has set one up already.
    let _ = match args.log_format {
        LogFormat::Text => log.with_ansi(is_terminal).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}
