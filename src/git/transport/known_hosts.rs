//! The operator's known_hosts file: is this the host's key, and which kinds of
//! key to ask the host for.
//!
//! Matching (hashed names, ports) is libssh2's. `@cert-authority` lines are not
//! supported and count as absent; `@revoked` keys are refused.

use ssh2::{CheckResult, KnownHostFileKind, Session};

/// Kinds of host keys in order of preference, with the signature methods to ask for.
const KINDS: [(&str, &str); 5] = [
    ("ssh-ed25519", "ssh-ed25519"),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"),
    ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"),
    ("ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"),
    ("ssh-rsa", "rsa-sha2-512,rsa-sha2-256"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Known,
    Unknown,
    /// The file has another key for this host.
    Changed,
    Revoked,
}

pub(super) struct KnownHosts<'a> {
    text: &'a str,
    host: &'a str,
    port: u16,
}

impl<'a> KnownHosts<'a> {
    pub(super) fn new(text: &'a str, host: &'a str, port: u16) -> KnownHosts<'a> {
        KnownHosts { text, host, port }
    }

    /// Plain lines whose key is of `kind`, or of any.
    fn lines(&self, kind: Option<&str>) -> impl Iterator<Item = &'a str> {
        self.text.lines().map(str::trim).filter(move |line| {
            let mut fields = line.split_whitespace();
            let plain = !line.starts_with(['#', '@']);
            let found = fields.nth(1);
            plain && found.is_some() && kind.is_none_or(|kind| found == Some(kind))
        })
    }

    fn look_up(&self, session: &Session, kind: Option<&str>, key: &[u8]) -> CheckResult {
        let Ok(mut hosts) = session.known_hosts() else {
            return CheckResult::Failure;
        };
        for line in self.lines(kind) {
            // A line that cannot be read knows no host.
            let _ = hosts.read_str(line, KnownHostFileKind::OpenSSH);
        }
        hosts.check_port(self.host, self.port, key)
    }

    /// Methods to ask for: those of keys on file first, else the host might show a
    /// key of a kind that is not on file and look like somebody else.
    pub(super) fn preferences(&self, session: &Session) -> String {
        // No host has this key, so a known host answers "mismatch".
        let nobody = [0_u8];
        let known = |kind: &str| {
            matches!(
                self.look_up(session, Some(kind), &nobody),
                CheckResult::Mismatch
            )
        };
        let (first, rest): (Vec<_>, Vec<_>) = KINDS.iter().partition(|(kind, _)| known(kind));
        let methods: Vec<&str> = first.iter().chain(&rest).map(|(_, m)| *m).collect();
        methods.join(",")
    }

    pub(super) fn verdict(&self, session: &Session, key: &[u8], encoded: &str) -> Verdict {
        let revoked = self.text.lines().map(str::trim).any(|line| {
            let mut fields = line.split_whitespace();
            fields.next() == Some("@revoked") && fields.nth(2) == Some(encoded)
        });
        if revoked {
            return Verdict::Revoked;
        }
        match self.look_up(session, None, key) {
            CheckResult::Match => Verdict::Known,
            CheckResult::Mismatch => Verdict::Changed,
            CheckResult::NotFound | CheckResult::Failure => Verdict::Unknown,
        }
    }
}

/// The line that makes the key known.
pub(super) fn line(host: &str, port: u16, kind: &str, encoded: &str) -> String {
    match port {
        22 => format!("{host} {kind} {encoded}"),
        port => format!("[{host}]:{port} {kind} {encoded}"),
    }
}

/// The kind that a raw host key says it is; its first field (RFC 4253, 6.6).
pub(super) fn kind_of(key: &[u8]) -> &str {
    let length = match key {
        [a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]) as usize,
        _ => 0,
    };
    key.get(4..4 + length.min(64))
        .and_then(|kind| std::str::from_utf8(kind).ok())
        .unwrap_or("unknown")
}
