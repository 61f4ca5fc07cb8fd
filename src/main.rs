fn main() {
    let args: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    // Before anything that starts a thread: the supervisor forks.
    if args.first().is_some_and(|arg| arg == "shim") {
        evenkeel::agent::runtime::process::shim::shim_main(&args[1..]);
    }
}
