//! `context`: a file of servers under the user's configuration folder.
//!
//! It holds tokens: written with mode 0600 in one step, never printed, and not
//! read where others may read it. It counts last: flags, environment and
//! `EVENKEEL_DATA_DIR` come first.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::args::Global;
use super::exit::{Code, Failure, Outcome};
use super::output::{Paint, Table, print};
use super::verb_args::ContextCommand;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contexts {
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Context>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
}

/// One line of `context list`.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    name: &'a str,
    current: bool,
    url: &'a str,
    /// Whether one is kept; never the token itself.
    token: bool,
    project: Option<&'a str>,
}

/// `$XDG_CONFIG_HOME/evenkeel/contexts.yaml`, else below `~/.config`.
fn file() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    let folder = set("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|p| p.is_absolute())
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".config")))?;
    Some(folder.join("evenkeel").join("contexts.yaml"))
}

fn needed_file() -> Result<PathBuf, Failure> {
    file().ok_or_else(|| {
        Failure::usage("there is no configuration folder")
            .with_hint("XDG_CONFIG_HOME=FOLDER evenkeel context list")
    })
}

/// Fills in what flags and environment do not say from the chosen context.
pub fn apply(global: &mut Global) -> Result<(), Failure> {
    let Some(file) = file() else { return Ok(()) };
    let data_dir = std::env::var_os("EVENKEEL_DATA_DIR").is_some_and(|d| !d.is_empty());
    let said = |text: &Option<String>| text.as_deref().is_some_and(|t| !t.is_empty());
    let named = global.context.clone().filter(|c| !c.is_empty());
    // A server that is named otherwise gets no token that is another's.
    if named.is_none() && (said(&global.url) || said(&global.token) || data_dir) {
        return Ok(());
    }
    let contexts = read(&file)?;
    let Some(name) = named.or_else(|| contexts.current.clone()) else {
        return Ok(());
    };
    let context = contexts.contexts.get(&name).ok_or_else(|| no_such(&name))?;
    if !said(&global.url) {
        global.url = Some(context.url.clone());
        if !said(&global.token) {
            global.token.clone_from(&context.token);
        }
    }
    if global.project.is_none() {
        global.project.clone_from(&context.project);
    }
    Ok(())
}

fn no_such(name: &str) -> Failure {
    Failure::usage(format!("there is no context {name}")).with_hint("evenkeel context list")
}

pub fn run(global: &Global, command: ContextCommand) -> Outcome {
    let file = needed_file()?;
    let mut contexts = read(&file)?;
    match command {
        ContextCommand::List => {
            let shown: Vec<Shown<'_>> = shown(&contexts).collect();
            print(global.output, &shown, |paint| table(&shown, paint))?;
        }
        ContextCommand::Use { name } => {
            if !contexts.contexts.contains_key(&name) {
                return Err(no_such(&name));
            }
            contexts.current = Some(name.clone());
            save(&file, &contexts)?;
            one(global, &contexts, &name, "evenkeel speaks from now on to")?;
        }
        ContextCommand::Add { name, token_file } => {
            let context = made(global, token_file.as_deref())?;
            crate::model::id::check_label(&name).map_err(|e| Failure::usage(e.to_string()))?;
            let replaced = contexts.contexts.insert(name.clone(), context).is_some();
            if contexts.current.is_none() {
                contexts.current = Some(name.clone());
            }
            save(&file, &contexts)?;
            let did = if replaced {
                "changed context"
            } else {
                "added context"
            };
            one(global, &contexts, &name, did)?;
        }
        ContextCommand::Remove { name } => {
            contexts
                .contexts
                .remove(&name)
                .ok_or_else(|| no_such(&name))?;
            if contexts.current.as_ref() == Some(&name) {
                contexts.current = None;
            }
            save(&file, &contexts)?;
            let done = serde_json::json!({"name": name, "removed": true});
            print(global.output, &done, |_| {
                format!("removed context {name}\n")
            })?;
        }
    }
    Ok(Code::Done)
}

fn one(global: &Global, contexts: &Contexts, name: &str, did: &str) -> Result<(), Failure> {
    let done = shown(contexts).find(|c| c.name == name);
    print(global.output, &done, |_| format!("{did} {name}\n"))
}

fn made(global: &Global, token_file: Option<&Path>) -> Result<Context, Failure> {
    let url = global
        .url
        .clone()
        .filter(|u| !u.is_empty())
        .ok_or_else(|| {
            Failure::usage("the server's address is missing")
                .with_hint("evenkeel context add NAME --url https://HOST:PORT")
        })?;
    // Says what is wrong with an address before it is kept.
    crate::client::Client::new(&url, None)?;
    let token = match token_file {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|e| Failure::usage(format!("{}: {e}", file.display())))?;
            Some(text.trim().to_owned())
        }
        None => global.token.clone(),
    };
    Ok(Context {
        url,
        token: token.filter(|t| !t.is_empty()),
        project: global.project.clone(),
    })
}

fn shown(contexts: &Contexts) -> impl Iterator<Item = Shown<'_>> {
    contexts.contexts.iter().map(|(name, context)| Shown {
        name,
        current: contexts.current.as_ref() == Some(name),
        url: &context.url,
        token: context.token.is_some(),
        project: context.project.as_deref(),
    })
}

fn table(contexts: &[Shown<'_>], paint: Paint) -> String {
    if contexts.is_empty() {
        return "no contexts; add one: evenkeel context add NAME --url URL\n".to_owned();
    }
    let mut table = Table::new(&["CURRENT", "NAME", "URL", "TOKEN", "PROJECT"]);
    for c in contexts {
        table.row([
            if c.current { "*" } else { "" }.into(),
            c.name.into(),
            c.url.into(),
            if c.token { "kept" } else { "none" }.into(),
            c.project.unwrap_or("-").into(),
        ]);
    }
    table.render(paint, "")
}

fn unusable(file: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Failed, format!("{}: {why}", file.display()))
}

fn read(file: &Path) -> Result<Contexts, Failure> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Contexts::default());
        }
        Err(error) => return Err(unusable(file, error)),
    };
    let mode = std::fs::metadata(file)
        .map_err(|e| unusable(file, e))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(
            unusable(file, "it holds tokens, and other users may read it")
                .with_hint(format!("chmod 600 {}", file.display())),
        );
    }
    serde_yaml::from_str(&text).map_err(|e| unusable(file, e))
}

/// In one step: who reads at the same time sees the old or the new one.
fn save(file: &Path, contexts: &Contexts) -> Result<(), Failure> {
    let text = super::output::yaml(contexts)?;
    let io = |e: std::io::Error| unusable(file, e);
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(io)?;
    let part = file.with_extension(format!("yaml.{}", std::process::id()));
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .map_err(io)?;
    out.write_all(text.as_bytes()).map_err(io)?;
    out.sync_all().map_err(io)?;
    std::fs::rename(&part, file).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back_and_is_nobody_elses() {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let file = dir.path().join("evenkeel/contexts.yaml");
        assert_eq!(read(&file), Ok(Contexts::default()));
        let contexts = Contexts {
            current: Some("prod".into()),
            contexts: BTreeMap::from([(
                "prod".to_owned(),
                Context {
                    url: "https://ops.example:7600".into(),
                    token: Some("secret".into()),
                    project: None,
                },
            )]),
        };
        save(&file, &contexts).expect("the folder can be written");
        assert_eq!(read(&file), Ok(contexts.clone()));
        let mode = |p: &Path| {
            let meta = std::fs::metadata(p).expect("it was written");
            meta.permissions().mode() & 0o777
        };
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        let list = serde_json::to_string(&shown(&contexts).collect::<Vec<_>>()).unwrap();
        assert!(!list.contains("secret"), "{list}");

        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let failure = read(&file).expect_err("others may read it");
        assert!(failure.hint.unwrap().starts_with("chmod 600"));
    }
}
