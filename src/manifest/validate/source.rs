//! `kind: Source` → [`SourceSpec`].

use super::app::duration_or;
use super::text;
use crate::manifest::field::Field;
use crate::manifest::problems::Cx;
use crate::manifest::raw;
use crate::manifest::tree::NodeId;
use crate::model::forge::{check_api_url, check_repository};
use crate::model::source::Credentials;
use crate::model::{
    ForgeKind, ForgeSpec, GitHubApp, ProjectName, PullRequestPolicy, SourceName, SourceSpec,
};

/// `None` once anything is wrong.
pub fn source(
    cx: &Cx<'_>,
    node: NodeId,
    name: SourceName,
    raw: &raw::source::Source,
) -> Option<SourceSpec> {
    cx.required(node, "url", &raw.url);
    let url = url_of(cx, &raw.url);
    let interval = duration_or(cx, &raw.interval, "1m");
    if let Some(at) = raw.interval.node()
        && interval < std::time::Duration::from_secs(1)
    {
        cx.problem(
            at,
            "it is at least 1s; webhooks and the manual trigger are faster than any poll",
        );
    }
    let branch = cx.parse(&raw.branch, |t| t, branch);
    let path = cx.parse(&raw.path, |t| t, folder);
    let project = cx.parse(&raw.project, |t| t, |t| ProjectName::new(t));
    let credentials = raw.credentials.get().cloned().unwrap_or_default();
    let file = |field: &Field<String>| cx.parse(field, |t| t, text::absolute_path);
    let credentials = Credentials {
        username: credentials.username.get().cloned(),
        token_file: file(&credentials.token_file),
        ssh_key_file: file(&credentials.ssh_key_file),
        known_hosts_file: file(&credentials.known_hosts_file),
    };
    let webhook_secret_file = file(&raw.webhook_secret_file);
    let forge = forge(cx, &raw.forge);
    stays_out_of_the_host(cx, &name, raw);
    let pulls = raw.pull_requests.get().cloned().unwrap_or_default();
    let pull_requests = PullRequestPolicy {
        plan: pulls.plan.get().copied().unwrap_or(true),
        forks: pulls.forks.get().copied().unwrap_or(false),
    };
    if !cx.is_clean() {
        return None;
    }
    Some(SourceSpec {
        name,
        url: url?,
        branch: branch.unwrap_or_else(|| "main".to_owned()),
        path: path.unwrap_or_default(),
        project: match project {
            Some(project) => project,
            None => ProjectName::new("default").ok()?,
        },
        interval,
        credentials,
        webhook_secret_file,
        forge,
        pull_requests,
    })
}

/// Specs come from repositories, and whoever may commit there must not have files of the
/// controller's host read or sent away. `plan::sync` refuses the same; here each place is told.
fn stays_out_of_the_host(cx: &Cx<'_>, name: &SourceName, raw: &raw::source::Source) {
    let refuse = |at: NodeId, what: &str| {
        cx.problem_hint(
            at,
            format!(
                "a source that is declared in Git may not name {what} on the controller's host: \
                 whoever can commit here could have any file there read or sent away"
            ),
            format!("remove it here, and let an operator run `evenkeel source add {name}` with it"),
        );
    };
    let credentials = raw.credentials.get();
    let files = credentials.into_iter().flat_map(|c| {
        let named = [&c.token_file, &c.ssh_key_file, &c.known_hosts_file];
        named.into_iter().filter_map(Field::node)
    });
    for at in files.chain(raw.webhook_secret_file.node()) {
        refuse(at, "a file");
    }
    if let Some(at) = raw.forge.node() {
        refuse(at, "a forge and the file of its token");
    }
    if let Some((at, url)) = raw.url.set()
        && (url.starts_with('/') || url.starts_with("file:"))
    {
        refuse(at, "a repository");
    }
}

fn forge(cx: &Cx<'_>, field: &Field<raw::source::Forge>) -> Option<ForgeSpec> {
    let (node, raw) = field.set()?;
    let kind = cx.required(node, "kind", &raw.kind);
    let repository = cx.required(node, "repository", &raw.repository);
    let token_file = cx.parse(&raw.token_file, |t| t, text::absolute_path);
    let app = raw.app.set().and_then(|(node, app)| {
        let id = cx.required(node, "id", &app.id);
        cx.required(node, "privateKeyFile", &app.private_key_file);
        let file = cx.parse(&app.private_key_file, |t| t, text::absolute_path);
        Some(GitHubApp {
            id: id?.1.clone(),
            private_key_file: file?,
            installation_id: app.installation_id.get().copied(),
        })
    });
    if raw.app.is_absent() {
        cx.required(node, "tokenFile", &raw.token_file);
    }
    let kind = match kind?.1 {
        raw::source::ForgeKind::Github => ForgeKind::GitHub,
        raw::source::ForgeKind::Gitlab => ForgeKind::GitLab,
        raw::source::ForgeKind::Gitea => ForgeKind::Gitea,
        raw::source::ForgeKind::Bitbucket => ForgeKind::BitbucketCloud,
        raw::source::ForgeKind::BitbucketDataCenter => ForgeKind::BitbucketDataCenter,
    };
    let api_url = match raw.api_url.set() {
        Some((at, url)) => {
            if let Err(why) = check_api_url(url) {
                let mut problem = cx.make(at, why, None);
                problem.text = without_secret(url);
                cx.push(problem);
            }
            Some(url.clone())
        }
        None => {
            let default = kind.default_api_url();
            if default.is_none() && raw.api_url.is_absent() {
                cx.required(node, "apiUrl", &raw.api_url);
            }
            default.map(str::to_owned)
        }
    };
    let (at, repository) = repository?;
    if let Err(why) = check_repository(kind, repository) {
        cx.problem(at, why);
    }
    let forge = ForgeSpec {
        kind,
        api_url: api_url?,
        repository: repository.clone(),
        token_file,
        username: raw.username.get().cloned(),
        app,
    };
    // What no field gets wrong for itself.
    if cx.is_clean()
        && let Err((field, why)) = forge.check()
    {
        cx.problem(node, format!("{field}: {why}"));
    }
    Some(forge)
}

fn url_of(cx: &Cx<'_>, field: &Field<String>) -> Option<String> {
    let (node, url) = field.set()?;
    match check_url(url) {
        Ok(()) => Some(url.clone()),
        Err((message, hint)) => {
            let mut problem = cx.make(node, message, Some(hint.to_owned()));
            problem.text = without_secret(url);
            cx.push(problem);
            None
        }
    }
}

/// Whether Evenkeel may fetch from it; the answer never repeats a password.
pub fn check_url(url: &str) -> Result<(), (String, &'static str)> {
    const ALLOWED: &str =
        "use https://, http://, ssh://, user@host:path, file:// or an absolute path";
    if url.is_empty()
        || url.len() > 2000
        || url.chars().any(|c| c.is_whitespace() || c.is_control())
    {
        return Err((
            "a URL has 1 to 2000 characters and no white space".to_owned(),
            ALLOWED,
        ));
    }
    if url.starts_with('-') {
        return Err(("a URL does not start with \"-\"".to_owned(), ALLOWED));
    }
    if url.starts_with('/') {
        return Ok(());
    }
    if let Some((scheme, rest)) = url.split_once("://") {
        let authority = rest.split('/').next().unwrap_or_default();
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        return match scheme {
            "file" if rest.starts_with('/') => Ok(()),
            "file" => Err(("a file URL names an absolute path".to_owned(), "write file:///path")),
            "https" | "http" | "ssh" if authority.rsplit('@').next().is_none_or(str::is_empty) => {
                Err(("the URL names no host".to_owned(), ALLOWED))
            }
            "https" | "http" if user.is_some() => Err((
                "the URL carries a user or a password, which everybody who reads this repository could use".to_owned(),
                "remove it, change that password, and set credentials: {username: …, tokenFile: …}",
            )),
            "ssh" if user.is_some_and(|u| u.contains(':')) => Err((
                "the URL carries a password, which everybody who reads this repository could use".to_owned(),
                "remove it and set credentials: {sshKeyFile: …}",
            )),
            "https" | "http" | "ssh" => Ok(()),
            _ => Err((format!("transport \"{}\" is not allowed", crate::manifest::problems::shorten(scheme, 20)), ALLOWED)),
        };
    }
    // `ext::sh -c …` runs programs: two colons are a remote helper of Git.
    if url.contains("::") {
        return Err((
            "Git's remote helpers are not allowed: they run programs".to_owned(),
            ALLOWED,
        ));
    }
    match url.split_once(':') {
        Some((host, path)) if !host.contains('/') && !path.is_empty() => {
            let bare = host.rsplit_once('@').map_or(host, |(_, h)| h);
            if bare.is_empty() || bare.starts_with('-') {
                return Err(("the URL names no host".to_owned(), ALLOWED));
            }
            if path.contains('@') {
                return Err((
                    "this looks like user:password@host".to_owned(),
                    "write user@host:path and set credentials: {sshKeyFile: …}",
                ));
            }
            Ok(())
        }
        Some(_) | None => Err(("this is not the URL of a repository".to_owned(), ALLOWED)),
    }
}

/// Everything between scheme and `@` is left out.
fn without_secret(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((before, after)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            match scheme {
                "" => format!("…@{after}"),
                _ => format!("{scheme}://…@{after}"),
            }
        }
        None => url.to_owned(),
    }
}

fn branch(name: &str) -> Result<String, String> {
    let bad = name.is_empty()
        || name.len() > 200
        || name.starts_with(['-', '/', '.'])
        || name.ends_with(['/', '.'])
        || name.ends_with(".lock")
        || name.contains("..")
        || name.contains("//")
        || name.contains("@{")
        || name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c));
    if bad {
        Err(format!("\"{name}\" cannot be the name of a branch"))
    } else {
        Ok(name.to_owned())
    }
}

fn folder(path: &str) -> Result<String, String> {
    let path = path.trim_matches('/');
    let path = if path == "." { "" } else { path };
    let plain = path.is_empty()
        || path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..");
    if plain && path.len() <= 2000 && !path.chars().any(char::is_control) {
        Ok(path.to_owned())
    } else {
        Err(format!(
            "\"{path}\" is not a folder of the repository: write it from its root, without \".\" and \"..\""
        ))
    }
}
