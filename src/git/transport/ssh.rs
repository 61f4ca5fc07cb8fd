//! `git-upload-pack` over ssh, with a host key that must be on file.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use git2::transport::Service;
use sha2::{Digest as _, Sha256};
use ssh2::{Channel, ErrorCode, MethodType, Session};
use tokio_util::task::AbortOnDropHandle;

use super::known_hosts::{self, KnownHosts, Verdict};
use super::{
    Attempt, Error, Location, SmartSubtransport, Stream, give_up, give_up_git, only_fetch,
};
use crate::git::{HostKey, Refusal, limits, secret};

/// The user that forges expect where the url names none.
const FORGE_USER: &str = "git";

/// libssh2's codes that mean: not with this key (`LIBSSH2_ERROR_*`).
const AUTH_CODES: [i32; 3] = [-18, -19, -38];

pub(super) struct Ssh {
    attempt: Arc<Attempt>,
}

impl Ssh {
    pub(super) fn new(attempt: Arc<Attempt>) -> Ssh {
        Ssh { attempt }
    }
}

impl SmartSubtransport for Ssh {
    fn action(&self, _: &str, service: Service) -> Result<Stream, git2::Error> {
        only_fetch(service)?;
        open(&self.attempt)
            .map(|stream| Box::new(stream) as Stream)
            .map_err(|e| give_up_git(&self.attempt, e))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// The remote program's two ends. Field order is drop order.
struct Upload {
    attempt: Arc<Attempt>,
    channel: Channel,
    _session: Session,
    heard: bool,
    _watchdog: AbortOnDropHandle<()>,
}

fn open(attempt: &Arc<Attempt>) -> Result<Upload, Error> {
    let Location::Ssh {
        user,
        host,
        port,
        path,
    } = &attempt.location
    else {
        return Err(attempt.unreachable("it is not an ssh address"));
    };
    let known = read_known_hosts(attempt)?;
    let known = KnownHosts::new(&known, host, *port);
    let stream = connect(attempt, host, *port)?;
    let watchdog = watchdog(attempt, &stream)?;

    let broken = |e: ssh2::Error| match attempt.over() {
        true => attempt.timeout(),
        false => attempt.unreachable(e.message()),
    };
    let mut session = Session::new().map_err(broken)?;
    // Only a second line: the watchdog ends it before.
    let longest = attempt.remaining() + Duration::from_secs(1);
    session.set_timeout(u32::try_from(longest.as_millis()).unwrap_or(u32::MAX));
    session
        .method_pref(MethodType::HostKey, &known.preferences(&session))
        .map_err(broken)?;
    session.set_tcp_stream(stream);
    session.handshake().map_err(broken)?;
    check_host_key(attempt, &session, &known, host, *port)?;

    let user = attempt.credentials.username.as_ref().or(user.as_ref());
    authenticate(attempt, &session, user.map_or(FORGE_USER, String::as_str))?;
    let mut channel = session.channel_session().map_err(broken)?;
    let quoted = path.replace('\'', r"'\''");
    channel
        .exec(&format!("git-upload-pack '{quoted}'"))
        .map_err(broken)?;
    Ok(Upload {
        attempt: attempt.clone(),
        channel,
        _session: session,
        heard: false,
        _watchdog: watchdog,
    })
}

fn read_known_hosts(attempt: &Attempt) -> Result<String, Error> {
    match &attempt.credentials.known_hosts_file {
        Some(file) => secret::read_bounded(file, limits::KNOWN_HOSTS_BYTES)
            .map_err(|why| attempt.refused(why)),
        None => Ok(String::new()),
    }
}

fn connect(attempt: &Attempt, host: &str, port: u16) -> Result<TcpStream, Error> {
    attempt.wait(async {
        let connect = tokio::net::TcpStream::connect((host, port));
        let stream = tokio::time::timeout(limits::CONNECT, connect)
            .await
            .map_err(|_| attempt.unreachable("no answer"))?
            .map_err(|e| attempt.unreachable(e))?;
        let stream = stream.into_std().map_err(|e| attempt.unreachable(e))?;
        stream
            .set_nonblocking(false)
            .map_err(|e| attempt.unreachable(e))?;
        Ok(stream)
    })
}

/// libssh2 blocks; cutting its connection is what ends it in time.
fn watchdog(attempt: &Arc<Attempt>, stream: &TcpStream) -> Result<AbortOnDropHandle<()>, Error> {
    let stream = stream.try_clone().map_err(|e| attempt.unreachable(e))?;
    let watched = attempt.clone();
    Ok(AbortOnDropHandle::new(attempt.runtime.spawn(async move {
        tokio::select! {
            () = watched.cancelled.cancelled() => (),
            () = tokio::time::sleep_until(watched.deadline) => (),
        }
        // Closed already: nothing to cut.
        let _ = stream.shutdown(Shutdown::Both);
    })))
}

fn check_host_key(
    attempt: &Attempt,
    session: &Session,
    known: &KnownHosts<'_>,
    host: &str,
    port: u16,
) -> Result<(), Error> {
    let (key, _) = session
        .host_key()
        .ok_or_else(|| attempt.unreachable("it shows no host key"))?;
    let encoded = STANDARD.encode(key);
    let fingerprint = format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(key)));
    let line = known_hosts::line(host, port, known_hosts::kind_of(key), &encoded);
    let file = attempt
        .credentials
        .known_hosts_file
        .clone()
        .unwrap_or_else(|| "the source's known_hosts file (none is set)".to_owned());
    let shown = HostKey {
        host: host.to_owned(),
        fingerprint,
        file,
        line,
    };
    match known.verdict(session, key, &encoded) {
        Verdict::Known => Ok(()),
        Verdict::Unknown => Err(attempt.refused(Refusal::HostKeyUnknown(Box::new(shown)))),
        Verdict::Changed => Err(attempt.refused(Refusal::HostKeyChanged(Box::new(shown)))),
        Verdict::Revoked => Err(attempt.refused(Refusal::HostKeyRevoked(Box::new(shown)))),
    }
}

fn authenticate(attempt: &Attempt, session: &Session, user: &str) -> Result<(), Error> {
    let Some(key) = &attempt.credentials.ssh_key_file else {
        return Err(attempt.refused(Refusal::Credentials {
            answer: "access by ssh needs a key".to_owned(),
            todo: "give the source an ssh key file".to_owned(),
        }));
    };
    let unusable = |why: String| {
        attempt.refused(Refusal::File {
            file: key.clone(),
            why,
        })
    };
    std::fs::File::open(key).map_err(|e| unusable(e.to_string()))?;
    if let Some(warning) = secret::too_open(key) {
        attempt.warn(warning);
    }
    match session.userauth_pubkey_file(user, None, Path::new(key), None) {
        Ok(()) => Ok(()),
        Err(_) if attempt.over() => Err(attempt.timeout()),
        Err(e) => match e.code() {
            ErrorCode::Session(code) if AUTH_CODES.contains(&code) => {
                Err(attempt.refused(Refusal::Credentials {
                    answer: format!("access refused for user {user}"),
                    todo:
                        "add the key's public half to the repository's host, with the right to read"
                            .to_owned(),
                }))
            }
            ErrorCode::Session(-16) => Err(unusable(format!(
                "{}; use a private key without passphrase (ssh-keygen -t ed25519 -N '')",
                e.message()
            ))),
            ErrorCode::Session(_) | ErrorCode::SFTP(_) => Err(attempt.unreachable(e.message())),
        },
    }
}

impl Read for Upload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.channel.read(buffer) {
            Ok(0) if !self.heard => {
                let mut said = String::new();
                // What it says is only an explanation; none is as good as a broken one.
                let _ = self.channel.stderr().take(1024).read_to_string(&mut said);
                let said: String = said
                    .chars()
                    .map(|c| if c.is_control() { ' ' } else { c })
                    .collect();
                let error = self.attempt.unreachable(format!(
                    "the host closed the connection, saying \"{}\"",
                    said.trim()
                ));
                Err(give_up(&self.attempt, error))
            }
            Ok(length) => {
                self.heard = true;
                Ok(length)
            }
            Err(e) => Err(self.broken(&e)),
        }
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.channel.write(bytes).map_err(|e| self.broken(&e))
    }
    fn flush(&mut self) -> io::Result<()> {
        self.channel.flush().map_err(|e| self.broken(&e))
    }
}

impl Upload {
    fn broken(&self, error: &io::Error) -> io::Error {
        let error = match self.attempt.over() {
            true => self.attempt.timeout(),
            false => self.attempt.unreachable(error),
        };
        give_up(&self.attempt, error)
    }
}
