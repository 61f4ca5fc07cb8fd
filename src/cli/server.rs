//! Which server, and which app, is meant.

use std::net::SocketAddr;
use std::path::Path;

use crate::client::{AppFilter, Client};
use crate::config::DataDir;
use crate::model::{AppKey, AppName, ProjectName};

use super::args::Global;
use super::exit::{Code, Failure};

/// Where `up` listens if nobody said otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:7600";
/// Written by `up` into its data folder.
const LISTEN_FILE: &str = "listen";
const TOKEN_FILE: &str = "admin-token";

/// Address and token as flags and environment have them; what is missing of the two comes
/// from the data folder of a server on this machine. Where nothing is said at all, a server
/// in the usual folder is meant.
pub fn connect(global: &Global) -> Result<Client, Failure> {
    let data_dir = std::env::var_os("EVENKEEL_DATA_DIR").filter(|d| !d.is_empty());
    let (url, token) = find(
        global.url.as_deref(),
        global.token.as_deref(),
        data_dir.as_deref().map(Path::new),
        &DataDir::usual(),
    )?;
    Ok(Client::new(&url, token)?)
}

fn find(
    url: Option<&str>,
    token: Option<&str>,
    data_dir: Option<&Path>,
    usual: &Path,
) -> Result<(String, Option<String>), Failure> {
    let given = |text: Option<&str>| text.is_some_and(|t| !t.is_empty());
    // One that is not there, or is another user's, says nothing of the server that is meant.
    let data_dir = data_dir.or_else(|| {
        let nothing_said = !given(url) && !given(token);
        (nothing_said && read_token(usual).is_ok()).then_some(usual)
    });
    let url = match (url, data_dir) {
        (Some(url), _) if !url.is_empty() => url.to_owned(),
        (_, Some(dir)) => listen_url(dir)?,
        (_, None) => DEFAULT_URL.to_owned(),
    };
    let token = match (token, data_dir) {
        (Some(token), _) if !token.is_empty() => Some(token.to_owned()),
        (_, Some(dir)) => Some(read_token(dir)?),
        (_, None) => None,
    };
    Ok((url, token))
}

/// The address that the server of that folder listens on, as one can connect to it.
fn listen_url(dir: &Path) -> Result<String, Failure> {
    let Ok(text) = std::fs::read_to_string(dir.join(LISTEN_FILE)) else {
        return Ok(DEFAULT_URL.to_owned());
    };
    let text = text.trim();
    if text.starts_with("http://") || text.starts_with("https://") {
        return Ok(text.to_owned());
    }
    let mut address: SocketAddr = text.parse().map_err(|_| {
        Failure::new(
            Code::Failed,
            format!(
                "{} does not hold an address",
                dir.join(LISTEN_FILE).display()
            ),
        )
        .with_hint("evenkeel --url http://HOST:PORT …")
    })?;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(format!("http://{address}"))
}

fn read_token(dir: &Path) -> Result<String, Failure> {
    let file = dir.join(TOKEN_FILE);
    let text = std::fs::read_to_string(&file).map_err(|error| {
        Failure::new(
            Code::Unreachable,
            format!("cannot read the token in {}: {error}", file.display()),
        )
        .with_hint("evenkeel --token TOKEN …, or run it as the user that runs the server")
    })?;
    Ok(text.trim().to_owned())
}

/// The app that `text` means: `PROJECT/APP`, or `APP` with `-p`, or `APP` alone where only
/// one project has it.
pub async fn find_app(client: &Client, global: &Global, text: &str) -> Result<AppKey, Failure> {
    look_for_app(client, global, text).await?.ok_or_else(|| {
        Failure::new(Code::Failed, format!("there is no app {text}")).with_hint("evenkeel status")
    })
}

/// As [`find_app`]; `None`: no project has an app of that name at present.
pub async fn look_for_app(
    client: &Client,
    global: &Global,
    text: &str,
) -> Result<Option<AppKey>, Failure> {
    if let Some(key) = named(global.project.as_deref(), text)? {
        return Ok(Some(key));
    }
    let filter = AppFilter {
        name: Some(text.to_owned()),
        ..AppFilter::default()
    };
    let found = client.apps(&filter).await?;
    match found.as_slice() {
        [one] => Ok(Some(AppKey::new(one.project.clone(), one.name.clone()))),
        [] => Ok(None),
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|a| format!("{}/{}", a.project, a.name))
                .collect();
            Err(Failure::usage(format!(
                "several projects have an app {text}: {}",
                names.join(", ")
            ))
            .with_hint(format!("evenkeel status {}, or another of them", names[0])))
        }
    }
}

/// `None`: the text alone does not tell the project.
fn named(project: Option<&str>, text: &str) -> Result<Option<AppKey>, Failure> {
    if text.contains('/') {
        return text
            .parse()
            .map(Some)
            .map_err(|e| Failure::usage(format!("{e}")));
    }
    let name = AppName::new(text).map_err(|e| Failure::usage(format!("{e}")))?;
    project
        .map(|p| {
            let project = ProjectName::new(p).map_err(|e| Failure::usage(format!("{e}")))?;
            Ok(AppKey::new(project, name))
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> std::path::PathBuf {
        "/nothing/here".into()
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder for the test");
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content).expect("a file in it");
        }
        dir
    }

    #[test]
    fn flags_win_over_the_data_folder() {
        let dir = folder(&[("listen", "127.0.0.1:9\n"), ("admin-token", "secret\n")]);
        let found = find(
            Some("http://other:1"),
            Some("mine"),
            Some(dir.path()),
            &none(),
        );
        assert_eq!(found, Ok(("http://other:1".into(), Some("mine".into()))));
    }

    #[test]
    fn the_data_folder_tells_the_rest() {
        let dir = folder(&[("listen", "0.0.0.0:7700\n"), ("admin-token", "secret\n")]);
        let found = find(None, None, Some(dir.path()), &none());
        assert_eq!(
            found,
            Ok(("http://127.0.0.1:7700".into(), Some("secret".into())))
        );
    }

    #[test]
    fn without_anything_the_default_address_is_tried() {
        let nothing = Ok((DEFAULT_URL.into(), None));
        assert_eq!(find(None, None, None, &none()), nothing);
        let no_token = folder(&[("listen", "127.0.0.1:9\n")]);
        assert_eq!(find(None, None, None, no_token.path()), nothing);
    }

    #[test]
    fn without_anything_a_server_in_the_usual_folder_is_meant() {
        let dir = folder(&[("listen", "127.0.0.1:9\n"), ("admin-token", "secret\n")]);
        let usual = dir.path();
        let found = Ok(("http://127.0.0.1:9".into(), Some("secret".into())));
        assert_eq!(find(None, None, None, usual), found);
        assert_eq!(find(Some(""), Some(""), None, usual), found);
        // Its token is for no other server, and what is said counts alone.
        let other = Ok(("http://other:1".into(), None));
        assert_eq!(find(Some("http://other:1"), None, None, usual), other);
        let mine = Ok((DEFAULT_URL.into(), Some("mine".into())));
        assert_eq!(find(None, Some("mine"), None, usual), mine);
    }

    #[test]
    fn a_token_that_cannot_be_read_is_said() {
        let dir = folder(&[]);
        let failure = find(None, None, Some(dir.path()), &none()).expect_err("there is no token");
        assert_eq!(failure.code, Code::Unreachable);
        assert!(failure.hint.is_some());
    }

    #[test]
    fn apps_are_named_three_ways() {
        let key = |p, t| named(p, t).map(|k| k.map(|k| k.to_string()));
        assert_eq!(key(None, "shop/web"), Ok(Some("shop/web".into())));
        assert_eq!(key(Some("other"), "shop/web"), Ok(Some("shop/web".into())));
        assert_eq!(key(Some("shop"), "web"), Ok(Some("shop/web".into())));
        assert_eq!(key(None, "web"), Ok(None));
        assert_eq!(key(None, "Web").expect_err("no label").code, Code::Usage);
    }
}
