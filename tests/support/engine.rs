//! Docker Engines for tests: the shared one, and private ones that a test may kill.
//!
//! A private Engine is a real `dockerd` with its own socket, data, containerd
//! and bridge. It leaves the firewall alone; its containers are reached from
//! here by their own addresses, and through the Engine's proxy by published
//! ports. Needs root and `dockerd`; where they are missing it panics, so that no
//! test passes by doing nothing.
//!
//! Use it with `#[path = "../support/engine.rs"] mod engine;`.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Two megabytes: BusyBox with a shell, `httpd`, `nc`, `sleep` and so on; no entrypoint.
pub const IMAGE: &str = "evenkeel-test-busybox:1";

/// The Engine that all tests share. They use clusters of their own and never stop it.
pub const SHARED: &str = "unix:///var/run/docker.sock";

const APPLETS: &[&str] = &[
    "cat", "chmod", "cp", "date", "dd", "echo", "env", "false", "grep", "head", "hostname",
    "httpd", "id", "kill", "ls", "mkdir", "nc", "ps", "rm", "sed", "seq", "sh", "sleep", "stat",
    "tail", "test", "touch", "true", "wc", "wget", "whoami",
];

/// A plain client of an Engine, for what tests do behind Evenkeel's back.
pub fn client(socket: &str) -> bollard::Docker {
    bollard::Docker::connect_with_unix(socket, 60, bollard::API_DEFAULT_VERSION)
        .unwrap_or_else(|e| panic!("this test needs a Docker Engine at {socket}: {e}"))
}

/// Puts [`IMAGE`] into the Engine at `socket` if it is not there yet.
pub async fn ensure_image(socket: &str) {
    let docker = client(socket);
    if docker.inspect_image(IMAGE).await.is_ok() {
        return;
    }
    // Two imports at once would make two images, one of them nameless.
    let lock = File::create(std::env::temp_dir().join("evenkeel-test-image.lock")).unwrap();
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock));
    let _lock = lock.await.unwrap().unwrap();
    if docker.inspect_image(IMAGE).await.is_ok() {
        return;
    }
    let (repo, tag) = IMAGE.split_once(':').unwrap();
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        .repo(repo)
        .tag(tag)
        .build();
    let body = bollard::body_full(image_tar().into());
    let mut progress = std::pin::pin!(docker.create_image(Some(options), Some(body), None));
    while let Some(item) = progress.next().await {
        item.unwrap_or_else(|e| panic!("importing {IMAGE} into {socket}: {e}"));
    }
}

fn image_tar() -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").expect("tests need a static /bin/busybox");
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, mode: u32, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(data.len() as u64);
        tar.append_data(&mut header, path, data).unwrap();
    };
    for (folder, mode) in [
        ("bin/", 0o755),
        ("etc/", 0o755),
        ("www/", 0o755),
        ("tmp/", 0o1777),
    ] {
        add(folder, tar::EntryType::Directory, mode, b"");
    }
    add("bin/busybox", tar::EntryType::Regular, 0o755, &busybox);
    add(
        "etc/passwd",
        tar::EntryType::Regular,
        0o644,
        b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    );
    add(
        "etc/group",
        tar::EntryType::Regular,
        0o644,
        b"root:x:0:\nnobody:x:65534:\n",
    );
    for applet in APPLETS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{applet}"), "/bin/busybox")
            .unwrap();
    }
    tar.into_inner().unwrap()
}

/// A Docker Engine of one's own.
pub struct Engine {
    dir: PathBuf,
    bridge: String,
    dockerd: Option<Child>,
}

impl Engine {
    /// Starts one, with [`IMAGE`] in it.
    pub async fn start() -> Engine {
        sweep();
        let (dir, bridge) = make_place();
        let mut engine = Engine {
            dir,
            bridge,
            dockerd: None,
        };
        engine.start_again().await;
        ensure_image(&engine.socket()).await;
        engine
    }

    /// `unix://…`.
    pub fn socket(&self) -> String {
        format!("unix://{}/docker.sock", self.dir.display())
    }

    pub fn client(&self) -> bollard::Docker {
        client(&self.socket())
    }

    /// Starts the Engine after [`Engine::kill`] or [`Engine::stop`]; returns when it answers.
    pub async fn start_again(&mut self) {
        assert!(self.dockerd.is_none(), "it runs");
        let path = |name: &str| self.dir.join(name).into_os_string();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("dockerd.log"))
            .unwrap();
        let mut command = Command::new("dockerd");
        command
            .arg("--host")
            .arg(self.socket())
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .arg("--config-file")
            .arg(path("daemon.json"))
            .args(["--bridge", &self.bridge])
            .args(["--iptables=false", "--ip-masq=false"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.dockerd = Some(
            command
                .spawn()
                .expect("this test needs dockerd and the right to run it"),
        );
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            if self.dir.join("docker.sock").exists() && self.client().ping().await.is_ok() {
                return;
            }
            let dockerd = self.dockerd.as_mut().unwrap();
            let exited = dockerd.try_wait().unwrap();
            assert!(
                exited.is_none() && Instant::now() < end,
                "dockerd did not come up ({exited:?}):\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `kill -9`. Its containers live on until it is started again.
    pub fn kill(&mut self) {
        let mut dockerd = self.dockerd.take().expect("it runs");
        dockerd.kill().unwrap();
        dockerd.wait().unwrap();
        self.await_containerds_end();
    }

    /// containerd dies with its Engine, a moment later. An Engine started in
    /// that moment would take it for alive and wait for it in vain.
    fn await_containerds_end(&self) {
        let pidfile = self.dir.join("exec/containerd/containerd.pid");
        let pid = fs::read_to_string(&pidfile).unwrap_or_default();
        let stat = format!("/proc/{}/stat", pid.trim());
        let end = Instant::now() + Duration::from_secs(10);
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(Instant::now() < end, "containerd {pid} lives on");
            std::thread::yield_now();
        }
        // Nobody may ever have waited for it; then its number still looks alive.
        let _ = fs::remove_file(&pidfile);
    }

    /// As a service manager stops it: its containers are stopped first.
    pub async fn stop(&mut self) {
        let mut dockerd = self.dockerd.take().expect("it runs");
        let pid = Pid::from_raw(i32::try_from(dockerd.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while dockerd.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "dockerd does not stop");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What dockerd said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("dockerd.log")).unwrap_or_default()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(mut dockerd) = self.dockerd.take() {
            let _ = dockerd.kill();
            let _ = dockerd.wait();
        }
        tear_down(&self.dir);
    }
}

const PREFIX: &str = "evk-engine-";

/// A folder and a bridge that nobody else has. Making the bridge claims its number.
fn make_place() -> (PathBuf, String) {
    for number in 0..250 {
        let bridge = format!("evk{number}");
        let ip = |args: &[&str]| {
            Command::new("ip")
                .args(args)
                .stderr(Stdio::null())
                .status()
                .expect("this test needs the ip program")
                .success()
        };
        if !ip(&["link", "add", "name", &bridge, "type", "bridge"]) {
            continue;
        }
        let address = format!("10.213.{number}.1/24");
        assert!(ip(&["addr", "add", &address, "dev", &bridge]));
        assert!(ip(&["link", "set", &bridge, "up"]));
        let dir = std::env::temp_dir().join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("daemon.json"), "{}").unwrap();
        let mut file = File::create(dir.join("bridge")).unwrap();
        file.write_all(bridge.as_bytes()).unwrap();
        return (dir, bridge);
    }
    panic!("no free bridge: may this test make network interfaces?");
}

/// Clears away Engines whose test was killed.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next())
            .and_then(|pid| pid.parse::<i32>().ok());
        if let Some(owner) = owner
            && !Path::new(&format!("/proc/{owner}")).exists()
        {
            tear_down(&entry.path());
        }
    }
}

/// Ends all that belongs to the Engine in `dir` and removes its traces.
fn tear_down(dir: &Path) {
    let dir_text = dir.to_string_lossy().into_owned();
    let containers: Vec<String> = fs::read_dir(dir.join("data/containers"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let end = Instant::now() + Duration::from_secs(10);
    while kill_all(&dir_text, &containers) && Instant::now() < end {
        std::thread::yield_now();
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mut points: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|point| point.starts_with(&format!("{dir_text}/")))
        .collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.len()));
    for point in points {
        let _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
    }
    for container in &containers {
        for controller in fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
        {
            let _ = fs::remove_dir(controller.path().join("docker").join(container));
        }
    }
    if let Ok(bridge) = fs::read_to_string(dir.join("bridge")) {
        let _ = Command::new("ip")
            .args(["link", "del", &bridge])
            .stderr(Stdio::null())
            .status();
    }
    let _ = fs::remove_dir_all(dir);
}

/// Kills every process that was started for `dir` or runs in one of the
/// containers; says whether there was any.
fn kill_all(dir: &str, containers: &[String]) -> bool {
    let mut any = false;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<i32>().ok())
        else {
            continue;
        };
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let line = String::from_utf8_lossy(&read("cmdline")).into_owned();
        let groups = String::from_utf8_lossy(&read("cgroup")).into_owned();
        // A dead one that nobody has waited for has no command line any more.
        let is_ours = line.contains(&format!("{dir}/"))
            || (!line.is_empty() && containers.iter().any(|c| groups.contains(c.as_str())));
        if is_ours && pid != std::process::id() as i32 {
            any = true;
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    any
}
