use super::*;

const HYBRID: &str = "\
25 20 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
26 25 0:23 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
27 25 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
28 25 0:25 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
29 25 0:26 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
30 25 0:26 / /elsewhere/my\\040memory rw shared:9 - cgroup cgroup rw,memory
31 25 0:27 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
32 25 0:28 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
";

#[test]
fn hierarchies_are_read_from_mountinfo() {
    let hierarchy = Hierarchy::from_mountinfo(HYBRID);
    let paths: Vec<_> = hierarchy
        .mounts
        .iter()
        .map(|m| m.path.to_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "/sys/fs/cgroup/unified",
            "/sys/fs/cgroup/cpu,cpuacct",
            "/sys/fs/cgroup/memory",
            "/sys/fs/cgroup/freezer",
        ]
    );
    assert_eq!(hierarchy.version(), "v1");
    assert!(hierarchy.has(Controller::Cpu) && !hierarchy.has(Controller::Pids));
    let group = hierarchy.group("pro/d..", "x");
    assert_eq!(
        group.folder(Controller::Memory).unwrap(),
        Path::new("/sys/fs/cgroup/memory/evenkeel/pro_d__/x")
    );
}

#[test]
fn a_mount_point_may_have_blanks() {
    assert_eq!(unescape("/my\\040cgroups\\x"), "/my cgroups\\x");
}

#[test]
fn what_a_host_cannot_hold_is_named() {
    let both = Limits {
        cpu_millis: Some(500),
        memory_bytes: Some(1 << 20),
    };
    assert_eq!(Hierarchy::none().missing_for(&both), ["cpu", "memory"]);
    assert!(Hierarchy::none().missing_for(&Limits::default()).is_empty());
    assert!(
        Hierarchy::from_mountinfo(HYBRID)
            .missing_for(&both)
            .is_empty()
    );
}

/// A folder with the files that the kernel would show.
fn check_applied(version: Version, files: &[&str], limits: Limits, expected: &[(&str, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        fs::write(dir.path().join(file), "").unwrap();
    }
    let group = Group {
        nodes: vec![Node {
            path: dir.path().to_owned(),
            version,
            controllers: BTreeSet::from([Controller::Cpu, Controller::Memory, Controller::Pids]),
        }],
    };
    group.apply(&limits).unwrap();
    for (file, value) in expected {
        let text = fs::read_to_string(dir.path().join(file)).unwrap();
        assert_eq!(text, *value, "{file}");
    }
}

#[test]
fn limits_are_written_as_version_2_wants_them() {
    let files = ["cpu.max", "memory.max", "memory.swap.max", "pids.max"];
    check_applied(
        Version::V2,
        &files,
        Limits {
            cpu_millis: Some(250),
            memory_bytes: Some(128 << 20),
        },
        &[
            ("cpu.max", "25000 100000"),
            ("memory.max", "134217728"),
            ("memory.swap.max", "0"),
            ("pids.max", "4096"),
        ],
    );
    check_applied(
        Version::V2,
        &files,
        Limits::default(),
        &[
            ("cpu.max", "max 100000"),
            ("memory.max", "max"),
            ("memory.swap.max", "max"),
        ],
    );
}

#[test]
fn limits_are_written_as_version_1_wants_them() {
    let files = [
        "cpu.cfs_period_us",
        "cpu.cfs_quota_us",
        "memory.limit_in_bytes",
        "memory.memsw.limit_in_bytes",
        "pids.max",
    ];
    check_applied(
        Version::V1,
        &files,
        Limits {
            cpu_millis: Some(1),
            memory_bytes: Some(4096),
        },
        &[
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "1000"),
            ("memory.limit_in_bytes", "4096"),
            ("memory.memsw.limit_in_bytes", "4096"),
        ],
    );
    check_applied(
        Version::V1,
        &files,
        Limits::default(),
        &[("cpu.cfs_quota_us", "-1"), ("memory.limit_in_bytes", "-1")],
    );
}

#[test]
fn a_limit_that_cannot_be_written_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let group = Group {
        nodes: vec![Node {
            path: dir.path().to_owned(),
            version: Version::V2,
            controllers: BTreeSet::from([Controller::Memory]),
        }],
    };
    let error = group.apply(&Limits::default()).unwrap_err();
    assert!(error.to_string().contains("memory.max"), "{error}");
}

#[test]
fn out_of_memory_kills_are_counted_in_both_versions() {
    for (version, file, text) in [
        (
            Version::V1,
            "memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
        ),
        (
            Version::V2,
            "memory.events",
            "low 0\noom 9\noom_kill 3\noom_group_kill 1\n",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(file), text).unwrap();
        let group = Group {
            nodes: vec![Node {
                path: dir.path().to_owned(),
                version,
                controllers: BTreeSet::from([Controller::Memory]),
            }],
        };
        assert_eq!(group.oom_kills(), 3);
    }
}
