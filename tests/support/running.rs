//! Processes of this machine, as /proc shows them.

/// Whether a process of this machine was started with these arguments, in a container or not.
pub fn runs(arguments: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|p| std::fs::read(p.path().join("cmdline")).ok())
        .any(|line| {
            let words: Vec<_> = line
                .split(|b| *b == 0)
                .map(String::from_utf8_lossy)
                .collect();
            words.join(" ").trim_end() == arguments
        })
}
