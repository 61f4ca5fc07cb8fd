//! Over ssh, against a real sshd that the test starts for itself.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use evenkeel::git::{Error, Refusal};

use crate::Fixture;

/// An sshd on a free port, for the user who runs the test, with its own keys.
struct Sshd {
    process: Child,
    port: u16,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn make_key(path: &Path, kind: &str) {
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", "", "-f"])
        .arg(path));
}

/// Host keys `host_ed25519` and `host_ecdsa`, client key `client`, all in `folder`.
fn start(folder: &Path, host_keys: &[&str]) -> Sshd {
    if !folder.join("client").exists() {
        make_key(&folder.join("client"), "ed25519");
        std::fs::copy(folder.join("client.pub"), folder.join("authorized")).unwrap();
    }
    let mut config = format!(
        "ListenAddress 127.0.0.1\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nAuthorizedKeysFile {}\n",
        folder.join("authorized").display()
    );
    for kind in host_keys {
        let key = folder.join(format!("host_{kind}"));
        if !key.exists() {
            make_key(&key, kind);
        }
        config.push_str(&format!("HostKey {}\n", key.display()));
    }
    std::fs::write(folder.join("sshd_config"), config).unwrap();
    // sshd insists on this folder when it runs as root.
    let _ = std::fs::create_dir_all("/run/sshd");
    for _ in 0..20 {
        // sshd cannot choose a free port itself: take one, and another if it was snatched.
        let port = crate::free_port::free_port();
        let mut process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-p", &port.to_string(), "-f"])
            .arg(folder.join("sshd_config"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssh-server is installed (make setup)");
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut seen = String::new();
        while !seen.contains("Server listening") && log.read_line(&mut seen).unwrap() > 0 {}
        // Somebody must read on, or sshd blocks when the pipe is full.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let sshd = Sshd { process, port };
        if seen.contains("Server listening") {
            return sshd;
        }
        assert!(seen.contains("Address already in use"), "{seen}");
    }
    panic!("no free port");
}

fn user() -> String {
    run(Command::new("id").arg("-un"))
}

fn over_ssh(sshd: &Sshd) -> Fixture {
    let mut fixture = Fixture::new();
    fixture.repo.commit("First", &[("a.yaml", Some("1"))]);
    fixture.spec.url = format!(
        "ssh://{}@127.0.0.1:{}{}",
        user(),
        sshd.port,
        fixture.repo.path.display()
    );
    fixture
}

/// The line for known_hosts, as ssh-keyscan writes it.
fn line_of(folder: &Path, kind: &str, port: u16) -> String {
    let public = std::fs::read_to_string(folder.join(format!("host_{kind}.pub"))).unwrap();
    let mut fields = public.split_whitespace();
    format!(
        "[127.0.0.1]:{port} {} {}",
        fields.next().unwrap(),
        fields.next().unwrap()
    )
}

fn fingerprint(folder: &Path, kind: &str) -> String {
    let key = folder.join(format!("host_{kind}.pub"));
    let text = run(Command::new("ssh-keygen")
        .args(["-l", "-E", "sha256", "-f"])
        .arg(key));
    text.split_whitespace().nth(1).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_is_refused_with_its_fingerprint_and_the_line_to_add() {
    let keys = tempfile::tempdir().unwrap();
    let sshd = start(keys.path(), &["ed25519"]);
    let mut fixture = over_ssh(&sshd);
    fixture.spec.credentials.ssh_key_file = Some(keys.path().join("client").display().to_string());

    let known = fixture.secret_file("known_hosts", "# none\nother.test ssh-ed25519 AAAA\n");
    fixture.spec.credentials.known_hosts_file = Some(known.clone());
    let error = fixture.fetch().await.unwrap_err();
    let Error::Refused {
        why: Refusal::HostKeyUnknown(key),
        ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(key.fingerprint, fingerprint(keys.path(), "ed25519"));
    assert_eq!(key.line, line_of(keys.path(), "ed25519", sshd.port));
    assert!(error.to_string().contains(&known), "{error}");

    // Doing what the error says makes it work.
    std::fs::write(&known, format!("{}\n", key.line)).unwrap();
    let first = fixture.fetch().await.unwrap();
    let next = fixture.repo.commit("Second", &[("a.yaml", Some("2"))]);
    let second = fixture.fetch().await.unwrap();
    assert_eq!((second.head.0, second.previous), (next, Some(first.head)));
    assert_eq!(second.warnings, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hashed_line_of_any_kind_of_key_is_enough() {
    let keys = tempfile::tempdir().unwrap();
    // The host prefers ed25519; on file is only its ecdsa key, hashed.
    let sshd = start(keys.path(), &["ed25519", "ecdsa"]);
    let mut fixture = over_ssh(&sshd);
    let known = fixture.secret_file("known_hosts", &line_of(keys.path(), "ecdsa", sshd.port));
    run(Command::new("ssh-keygen").args(["-q", "-H", "-f", &known]));
    fixture.spec.credentials.known_hosts_file = Some(known);
    fixture.spec.credentials.ssh_key_file = Some(keys.path().join("client").display().to_string());
    fixture.fetch().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_host_key_is_refused_loudly_and_a_revoked_one_too() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_key(&old.path().join("host_ed25519"), "ed25519");
    let sshd = start(new.path(), &["ed25519"]);
    let mut fixture = over_ssh(&sshd);
    let known = fixture.secret_file("known_hosts", &line_of(old.path(), "ed25519", sshd.port));
    fixture.spec.credentials.known_hosts_file = Some(known.clone());
    fixture.spec.credentials.ssh_key_file = Some(new.path().join("client").display().to_string());
    let error = fixture.fetch().await.unwrap_err();
    assert!(error.to_string().contains("HAS CHANGED"), "{error}");
    assert!(
        matches!(
            &error,
            Error::Refused {
                why: Refusal::HostKeyChanged(_),
                ..
            }
        ),
        "{error:?}"
    );

    let line = line_of(new.path(), "ed25519", sshd.port);
    std::fs::write(&known, format!("{line}\n@revoked {line}\n")).unwrap();
    let error = fixture.fetch().await.unwrap_err();
    assert!(error.to_string().contains("revoked"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_allowed_or_missing_is_refused() {
    let keys = tempfile::tempdir().unwrap();
    let sshd = start(keys.path(), &["ed25519"]);
    let mut fixture = over_ssh(&sshd);
    let known = fixture.secret_file("known_hosts", &line_of(keys.path(), "ed25519", sshd.port));
    fixture.spec.credentials.known_hosts_file = Some(known);
    let error = fixture.fetch().await.unwrap_err().to_string();
    assert!(error.contains("ssh key file"), "{error}");

    make_key(&keys.path().join("stranger"), "ed25519");
    let stranger = keys.path().join("stranger").display().to_string();
    fixture.spec.credentials.ssh_key_file = Some(stranger);
    let error = fixture.fetch().await.unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Refused {
                why: Refusal::Credentials { .. },
                ..
            }
        ),
        "{error:?}"
    );

    fixture.spec.credentials.ssh_key_file = Some("/nowhere/key".to_owned());
    let error = fixture.fetch().await.unwrap_err().to_string();
    assert!(error.contains("/nowhere/key"), "{error}");

    // A passphrase cannot be asked for.
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "passphrase", "-f"])
        .arg(keys.path().join("locked")));
    let locked = keys.path().join("locked").display().to_string();
    fixture.spec.credentials.ssh_key_file = Some(locked);
    let error = fixture.fetch().await.unwrap_err();
    assert!(matches!(&error, Error::Refused { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_other_end_says_is_shown() {
    let keys = tempfile::tempdir().unwrap();
    let sshd = start(keys.path(), &["ed25519"]);
    let mut fixture = over_ssh(&sshd);
    let known = fixture.secret_file("known_hosts", &line_of(keys.path(), "ed25519", sshd.port));
    fixture.spec.credentials.known_hosts_file = Some(known);
    fixture.spec.credentials.ssh_key_file = Some(keys.path().join("client").display().to_string());
    fixture.spec.url.push_str("-is-not-there");
    let error = fixture.fetch().await.unwrap_err().to_string();
    assert!(
        error.contains("does not appear to be a git repository"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_host_meets_the_deadline() {
    // Accepts connections (the kernel does) and never says a word.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut fixture = Fixture::new();
    fixture.spec.url = format!(
        "ssh://git@127.0.0.1:{}/a.git",
        silent.local_addr().unwrap().port()
    );
    let start = Instant::now();
    let allowed = Duration::from_millis(500);
    let error = fixture
        .mirrors
        .fetch(&fixture.spec, allowed)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(5));
    // The mirror is free again as well: the thread really ended.
    let again = fixture
        .mirrors
        .fetch(&fixture.spec, allowed)
        .await
        .unwrap_err();
    assert!(matches!(again, Error::Timeout { .. }), "{again:?}");
    assert!(start.elapsed() < Duration::from_secs(8));
}
