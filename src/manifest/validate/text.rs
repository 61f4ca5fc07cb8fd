//! Rules on single texts: paths, names, image references.

use crate::model::id::check_label;

/// Absolute, in its shortest form, below `/`.
pub fn absolute_path(path: &str) -> Result<String, String> {
    let why = if !path.starts_with('/') {
        "it must be absolute (start with \"/\")"
    } else if path == "/" {
        "\"/\" itself would hide everything"
    } else if path.len() > 4000 {
        "it is longer than 4000 characters"
    } else if path.chars().any(char::is_control) {
        "it holds control characters"
    } else if path.ends_with('/') || path.contains("//") || path.contains(':') {
        "it must be plain: no \"//\", no \":\", no \"/\" at the end"
    } else if path.split('/').any(|part| part == "." || part == "..") {
        "\".\" and \"..\" are not allowed in it"
    } else {
        return Ok(path.to_owned());
    };
    Err(format!("\"{path}\" cannot be used as a path: {why}"))
}

/// A working directory: absolute, `/` allowed.
pub fn folder(path: &str) -> Result<String, String> {
    if path == "/" {
        Ok(path.to_owned())
    } else {
        absolute_path(path)
    }
}

pub fn env_name(name: &str) -> Result<(), String> {
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let why = if name.is_empty() {
        "it is empty"
    } else if name.starts_with(|c: char| c.is_ascii_digit()) {
        "it starts with a digit"
    } else if !name.chars().all(ok) {
        "only letters, digits, \"_\", \".\" and \"-\" are allowed"
    } else {
        return Ok(());
    };
    Err(format!(
        "\"{name}\" cannot be the name of an environment variable: {why}"
    ))
}

/// `uid`, `uid:gid`, names alike.
pub fn user(text: &str) -> Result<String, String> {
    let part = |p: &str| {
        let head = p.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let rest = p
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        let number = p.bytes().all(|b| b.is_ascii_digit());
        // The highest id means "no change" to the kernel.
        head && rest && p.len() <= 64 && (!number || p.parse::<u32>().is_ok_and(|n| n < u32::MAX))
    };
    let mut parts = text.split(':');
    let ok = parts.next().is_some_and(part) && parts.next().is_none_or(part);
    if ok && parts.next().is_none() {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "\"{text}\" is not a user: write a uid, uid:gid, or a name, such as \"1000:1000\""
        ))
    }
}

/// `[registry/]name[:tag][@digest]`.
pub fn image(text: &str) -> Result<String, String> {
    let bad = |why: &str| Err(format!("\"{text}\" is not an image reference: {why}"));
    if text.is_empty() {
        return bad("it is empty");
    }
    if text.len() > 500 {
        return bad("it is longer than 500 characters");
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return bad("it holds white space");
    }
    if text.contains("://") {
        return bad("it is written without a scheme such as https://");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    if let Some(digest) = digest {
        let ok = digest
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        if !ok {
            return bad("after \"@\" comes sha256: and 64 hex digits");
        }
    }
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        Some(_) | None => (rest, None),
    };
    if let Some(tag) = tag {
        let head = tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let ok = tag
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        if !head || !ok || tag.len() > 128 {
            return bad("the tag after \":\" may hold letters, digits, \"_\", \".\" and \"-\"");
        }
    }
    let parts: Vec<&str> = name.split('/').collect();
    let registry = parts.len() > 1
        && (parts[0].contains(['.', ':']) || parts[0] == "localhost" || parts[0].starts_with('['));
    let path = if registry { &parts[1..] } else { &parts[..] };
    for part in path {
        let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !part.starts_with(edge)
            || !part.ends_with(edge)
            || !part
                .chars()
                .all(|c| edge(c) || matches!(c, '_' | '.' | '-'))
        {
            return bad(
                "the name before the tag may hold lower-case letters, digits, \"_\", \".\" and \"-\"",
            );
        }
    }
    Ok(text.to_owned())
}

pub fn label(text: &str) -> Result<String, String> {
    check_label(text)
        .map(|()| text.to_owned())
        .map_err(|e| e.to_string())
}

/// Linux capabilities, as of Linux 6.
pub const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "WAKE_ALARM",
];
