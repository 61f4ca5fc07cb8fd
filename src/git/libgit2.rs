//! The library's process-wide settings, made once before anything else uses it.

use std::sync::Once;

use git2::{ConfigLevel, opts};

use super::transport;

/// Does nothing after the first call.
pub(super) fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(settings);
}

/// None of these can fail but for lack of memory; what was not set keeps its stricter default.
#[expect(
    unsafe_code,
    reason = "the library's globals: set under a Once, before its first use by any thread"
)]
fn settings() {
    // No `url.insteadOf`, credential helper or proxy of whoever started us may
    // redirect a fetch.
    for level in [
        ConfigLevel::ProgramData,
        ConfigLevel::System,
        ConfigLevel::XDG,
        ConfigLevel::Global,
    ] {
        let _ = unsafe { opts::set_search_path(level, "") };
    }
    // Only our mirrors and paths that an operator configured are ever opened;
    // those may belong to another user (a developer's clone, a forge's storage).
    let _ = unsafe { opts::set_verify_owner_validation(false) };
    unsafe { transport::register() };
}
