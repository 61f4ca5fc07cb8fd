//! The supervisor: `evenkeel shim …`, one small process per running instance.
use std::ffi::OsString;

/// Entry point of the hidden subcommand; must be called before any thread exists.
pub fn shim_main(args: &[OsString]) -> ! {
    let _ = args;
    std::process::exit(2)
}
