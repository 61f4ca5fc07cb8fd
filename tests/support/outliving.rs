//! Plain processes outlive the program that started them, on purpose: tests take them along.

use std::path::Path;

/// Kills everything that was started below `folder`, but not the caller.
pub fn kill_below(folder: &Path) {
    let mark = format!("{}/", folder.display());
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<i32>().ok()) else {
            continue;
        };
        let read = |what: &str| std::fs::read(entry.path().join(what)).unwrap_or_default();
        let words = [read("cmdline"), read("environ")].concat();
        if pid != std::process::id().cast_signed()
            && String::from_utf8_lossy(&words).contains(&mark)
        {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}
