//! The program: everything is in the library.

fn main() -> std::process::ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    // Before anything that starts a thread: the supervisor forks.
    if args.get(1).is_some_and(|arg| arg == "shim") {
        evenkeel::agent::runtime::process::shim::shim_main(&args[2..]);
    }
    evenkeel::cli::run(args)
}
