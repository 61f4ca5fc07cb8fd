//! What a source's url says, and which urls are not accepted.

use std::fmt;
use std::path::PathBuf;

use reqwest::Url;

use super::{Error, Refusal};

/// Where a repository is. Its `Display` holds no user part.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Location {
    Http {
        /// Without user part, query and fragment.
        url: Url,
        user: Option<String>,
    },
    Ssh {
        user: Option<String>,
        host: String,
        port: u16,
        /// As the remote shell sees it: absolute, or relative to the user's home.
        path: String,
    },
    Local(PathBuf),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Http { url, .. } => f.write_str(url.as_str()),
            Location::Ssh {
                host, port, path, ..
            } => {
                let slash = if path.starts_with('/') { "" } else { "/" };
                match port {
                    22 => write!(f, "ssh://{host}{slash}{path}"),
                    port => write!(f, "ssh://{host}:{port}{slash}{path}"),
                }
            }
            Location::Local(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Location {
    /// Reads `https://`, `http://`, `ssh://`, `user@host:path`, `file://` or an absolute path.
    /// Fails with [`Refusal::Url`] on anything else.
    pub(super) fn parse(text: &str) -> Result<Location, Error> {
        parse(text).map_err(|why| Error::Refused {
            url: printable(text),
            why: Refusal::Url { why },
        })
    }
}

fn parse(text: &str) -> Result<Location, String> {
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) && !text.starts_with('/') {
        return Err("it holds white space or control characters".to_owned());
    }
    if text.contains('\0') {
        return Err("it holds a NUL character".to_owned());
    }
    if text.starts_with('/') {
        return Ok(Location::Local(PathBuf::from(text)));
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return match scheme {
            "http" | "https" => parse_http(text),
            "ssh" => parse_ssh(text),
            "file" => parse_file(text),
            other => Err(format!(
                "\"{}\" is not supported; use https, http, ssh, file or an absolute path",
                other
            )),
        };
    }
    if text.contains("::") {
        return Err(
            "external transports are not supported; use https, http, ssh, file or an absolute path"
                .to_owned(),
        );
    }
    parse_scp(text)
}

fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| e.to_string())?;
    if url.password().is_some() {
        return Err(
            "it holds a password; put that into a file and name it as the token file".to_owned(),
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it holds a query or fragment".to_owned());
    }
    Ok(url)
}

fn parse_http(text: &str) -> Result<Location, String> {
    let mut url = parse_url(text)?;
    let user = decoded_user(&url)?;
    url.set_username("")
        .map_err(|()| "it has no host".to_owned())?;
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(Location::Http { url, user })
}

fn parse_ssh(text: &str) -> Result<Location, String> {
    let url = parse_url(text)?;
    let user = decoded_user(&url)?;
    let host = url
        .host_str()
        .filter(|h| !h.is_empty())
        .ok_or("it has no host")?
        .trim_matches(|c| c == '[' || c == ']')
        .to_owned();
    let path = decode(url.path())?;
    // `ssh://host/~user/x` names a home folder, as git reads it.
    let path = match path.strip_prefix("/~") {
        Some(home) => format!("~{home}"),
        None => path,
    };
    ssh(user, host, url.port().unwrap_or(22), path)
}

/// `user@host:path`, the short form that forges show.
fn parse_scp(text: &str) -> Result<Location, String> {
    let malformed = || "it is neither a url nor an absolute path nor user@host:path".to_owned();
    let (left, path) = text.split_once(':').ok_or_else(malformed)?;
    if left.contains('/') {
        return Err(malformed());
    }
    let (user, host) = match left.split_once('@') {
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, left),
    };
    if user.as_deref() == Some("") || host.is_empty() {
        return Err(malformed());
    }
    ssh(user, host.to_owned(), 22, path.to_owned())
}

fn ssh(user: Option<String>, host: String, port: u16, path: String) -> Result<Location, String> {
    // A leading dash would be read as an option at the other end.
    if path.is_empty() || path == "/" {
        return Err("it names no repository on the host".to_owned());
    }
    if path.starts_with('-') || host.starts_with('-') {
        return Err("host and path may not start with a dash".to_owned());
    }
    Ok(Location::Ssh {
        user,
        host: host.to_ascii_lowercase(),
        port,
        path,
    })
}

fn parse_file(text: &str) -> Result<Location, String> {
    let url = parse_url(text)?;
    url.to_file_path()
        .map(Location::Local)
        .map_err(|()| "a file url names a local absolute path: file:///srv/specs.git".to_owned())
}

fn decoded_user(url: &Url) -> Result<Option<String>, String> {
    match url.username() {
        "" => Ok(None),
        user => decode(user).map(Some),
    }
}

/// `%41` to `A`.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let code = tail
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &tail[2..];
            }
            _ => bytes.push(first),
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => Ok(text),
        _ => Err("it holds control characters or is not UTF-8".to_owned()),
    }
}

/// The text without what might be a secret: everything before the last `@` of its host part.
fn printable(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let rest = match rest[..authority_end].rfind('@') {
        Some(at) => &rest[at + 1..],
        None => rest,
    };
    let shown: String = rest
        .chars()
        .filter(|c| !c.is_control())
        .take(300)
        .take_while(|c| !matches!(c, '?' | '#'))
        .collect();
    format!("{scheme}{shown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, shown: &str) {
        match Location::parse(text) {
            Ok(location) => assert_eq!(location.to_string(), shown, "{text}"),
            Err(error) => panic!("{text}: {error}"),
        }
    }

    fn check_refused(text: &str, why: &str) {
        let error = Location::parse(text).expect_err(text).to_string();
        assert!(error.contains(why), "{text}: {error}");
        assert!(!error.contains("secret"), "{text}: {error}");
    }

    #[test]
    fn accepted_forms_are_shown_without_user() {
        check("https://bot@git.test/a/b.git/", "https://git.test/a/b.git");
        check("http://git.test:8080/a", "http://git.test:8080/a");
        check("ssh://git@git.test:2222/a.git", "ssh://git.test:2222/a.git");
        check("git@git.test:team/a.git", "ssh://git.test/team/a.git");
        check("file:///srv/a%20b", "/srv/a b");
        check("/srv/a", "/srv/a");
    }

    #[test]
    fn everything_else_is_refused_without_showing_secrets() {
        check_refused("https://bot:secret@git.test/a", "password");
        check_refused("ssh://bot:secret@git.test/a", "password");
        check_refused("ext::sh -c id", "white space");
        check_refused("ext::sh", "external transports");
        check_refused("git://git.test/a", "not supported");
        check_refused("ssh://git@-oProxyCommand=x/a", "");
        check_refused("git@git.test:-x", "dash");
        check_refused("relative/path", "neither");
        check_refused("https://git.test/a?token=secret", "query");
        check_refused("file://other/srv/a", "");
    }

    #[test]
    fn scp_paths_stay_relative_to_home() {
        let Ok(Location::Ssh { path, user, .. }) = Location::parse("me@h.test:x/y.git") else {
            panic!("not ssh");
        };
        assert_eq!((path.as_str(), user.as_deref()), ("x/y.git", Some("me")));
        let Ok(Location::Ssh { path, .. }) = Location::parse("ssh://h.test/~me/y.git") else {
            panic!("not ssh");
        };
        assert_eq!(path, "~me/y.git");
    }
}
