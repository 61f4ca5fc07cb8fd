//! `source …`: the followed repositories.

use std::fmt::Write as _;
use std::time::Duration;

use crate::api::{SourceInput, SourceStatus};
use crate::client::Client;
use crate::clock;
use crate::model::source::Credentials;
use crate::model::{ForgeSpec, GitHubApp, PullRequestPolicy, SourceName, SyncOutcome, Timestamp};

use super::args::{Global, SourceAddArgs, SourceCommand};
use super::exit::{Code, Failure, Outcome};
use super::output::{Cell, Paint, Table, Tone, age, counted, one_line, print, tone_of, word};
use super::patience::Patience;
use super::progress::Progress;
use super::server::connect;
use super::verb_args::SeenArgs;
use super::{verdict, webhook};

/// For all apps of a source to stop, their grace periods included.
const REMOVE_WITHIN: Duration = Duration::from_secs(600);
/// Between two looks while they do.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub async fn run(global: &Global, command: SourceCommand) -> Outcome {
    let client = connect(global)?;
    match command {
        SourceCommand::Add(args) => {
            let replace = args.replace;
            let client = SeenArgs { as_of: args.as_of }.guard(client);
            let input = input(global, *args)?;
            let status = if replace {
                client.put_source(&input).await?
            } else {
                client.add_source(&input).await?
            };
            show(global, &client, &status)?;
        }
        SourceCommand::List => {
            let page = client.sources().await?;
            print(global.output, &page.items, |paint| {
                list(&page.items, clock::now(), paint)
            })?;
        }
        SourceCommand::Show { name } => {
            let status = client.source(&parse(&name)?).await?;
            show(global, &client, &status)?;
        }
        SourceCommand::Sync { name, wait } if wait.wait => {
            let name = parse(&name)?;
            let (status, code) = verdict::after_sync(&client, global, &name, wait.timeout).await?;
            show(global, &client, &status)?;
            return Ok(code);
        }
        SourceCommand::Sync { name, .. } => {
            let status = client.sync_source(&parse(&name)?).await?;
            print(global.output, &status, |_| {
                format!("asked for a sync of {name}; see: evenkeel source show {name}\n")
            })?;
        }
        SourceCommand::Remove { name, prune, seen } => {
            return remove(global, &client, &parse(&name)?, prune, seen).await;
        }
        SourceCommand::Approve { name, seen, wait } => {
            let name = parse(&name)?;
            let now = client.source_now(&name).await?;
            let guarded = client.as_of(seen.as_of.unwrap_or(now.version));
            let answer = guarded.approve_source(&name).await?;
            if wait.wait {
                let (status, code) =
                    verdict::after_approval(&client, global, &answer, wait.timeout).await?;
                show(global, &client, &status)?;
                return Ok(code);
            }
            show(global, &client, &answer)?;
        }
    }
    Ok(Code::Done)
}

fn show(global: &Global, client: &Client, status: &SourceStatus) -> Result<(), Failure> {
    print(global.output, status, |paint| {
        one(status, client.url(), clock::now(), paint)
    })
}

/// With `prune` it takes as long as its apps take to stop.
async fn remove(
    global: &Global,
    client: &Client,
    name: &SourceName,
    prune: bool,
    seen: SeenArgs,
) -> Outcome {
    // Of the next requests our own was the last act.
    let mut asking = seen.guard(client.clone());
    let deadline = tokio::time::Instant::now() + REMOVE_WITHIN;
    let mut begun = false;
    let mut progress = Progress::new(global.output);
    let mut patience = Patience::new(format!("source {name}"), Some(deadline));
    loop {
        let ask = async || asking.remove_source(name, prune).await;
        match patience.ask(&mut progress, ask).await {
            Ok(true) => break,
            Ok(false) => {}
            // It went while we looked away.
            Err(error) if begun && error.status() == Some(404) => break,
            Err(error) => return Err(error.into()),
        }
        let look = async || client.source(name).await;
        let left = match patience.ask(&mut progress, look).await {
            Ok(status) => status.apps,
            Err(error) if error.status() == Some(404) => break,
            Err(error) => return Err(error.into()),
        };
        begun = true;
        asking = client.clone();
        let apps = counted(left, "app");
        progress.tell(&format!("taking down {apps} of source {name}"));
        if tokio::time::Instant::now() > deadline {
            progress.clear();
            return Err(Failure::new(
                Code::TimedOut,
                format!(
                    "gave up waiting for {} of source {name}",
                    counted(left, "app")
                ),
            )
            .with_hint("evenkeel status"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    progress.clear();
    let done = serde_json::json!({"name": name, "removed": true});
    print(global.output, &done, |_| format!("removed source {name}\n"))?;
    Ok(Code::Done)
}

fn parse(name: &str) -> Result<SourceName, Failure> {
    let wrong = |e| Failure::usage(format!("{e}")).with_hint("evenkeel source list");
    SourceName::new(name).map_err(wrong)
}

fn input(global: &Global, args: SourceAddArgs) -> Result<SourceInput, Failure> {
    let mut input = SourceInput::new(parse(&args.name)?, url_of(&args.repository)?);
    input.branch = args.branch;
    input.path = args.path;
    input.interval = args.interval;
    if let Some(project) = &global.project {
        input.project.clone_from(project);
    }
    input.credentials = Credentials {
        username: args.username,
        token_file: args.token_file,
        ssh_key_file: args.ssh_key_file,
        known_hosts_file: args.known_hosts_file,
    };
    input.webhook_secret_file = args.webhook_secret_file;
    input.pull_requests = PullRequestPolicy {
        plan: !args.no_pull_requests,
        forks: args.pull_requests_from_forks,
    };
    if let (Some(kind), Some(repository)) = (args.forge, args.forge_repository) {
        let own = kind.default_api_url().map(str::to_owned);
        input.forge = Some(ForgeSpec {
            kind,
            api_url: args.forge_api.or(own).ok_or_else(|| {
                Failure::usage(format!(
                    "--forge {} needs --forge-api URL: where is it?",
                    kind.as_str()
                ))
            })?,
            repository,
            token_file: args.forge_token_file,
            username: args.forge_username,
            app: match (args.forge_app_id, args.forge_app_key_file) {
                (Some(id), Some(private_key_file)) => Some(GitHubApp {
                    id,
                    private_key_file,
                    installation_id: args.forge_app_installation,
                }),
                (Some(_) | None, Some(_) | None) => None,
            },
        });
    }
    Ok(input)
}

/// A folder of this machine is named by its full path: the server has another working folder.
fn url_of(repository: &str) -> Result<String, Failure> {
    let is_path = repository.starts_with(['.', '/']) || std::path::Path::new(repository).is_dir();
    if !is_path {
        return Ok(repository.to_owned());
    }
    let path = std::path::absolute(repository)
        .map_err(|e| Failure::usage(format!("\"{repository}\" is not a path: {e}")))?;
    // `..` is resolved where the folder is there; the server may be on another machine.
    let path = path.canonicalize().unwrap_or(path);
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::usage(format!("\"{repository}\" is not UTF-8")))
}

fn list(sources: &[SourceStatus], now: Timestamp, paint: Paint) -> String {
    if sources.is_empty() {
        return "no sources; add one: evenkeel source add NAME URL\n".to_owned();
    }
    let mut table = Table::new(&[
        "SOURCE",
        "STATE",
        "APPLIED",
        "SEEN",
        "TRIED",
        "APPS",
        "PROBLEMS",
        "REPOSITORY",
    ]);
    for s in sources {
        let short = |c: &Option<crate::model::CommitId>| {
            c.as_ref().map_or("-".to_owned(), |c| c.short().to_owned())
        };
        table.row([
            s.name.to_string().into(),
            Cell::state(s.state),
            short(&s.last_applied).into(),
            short(&s.last_seen).into(),
            attempted(s)
                .map_or("-".to_owned(), |at| age(now, at))
                .into(),
            s.apps.to_string().into(),
            s.problems.len().to_string().into(),
            format!("{} {} {}", s.url, s.branch, s.path)
                .trim_end()
                .into(),
        ]);
    }
    table.render(paint, "")
}

fn attempted(source: &SourceStatus) -> Option<Timestamp> {
    let live = source.sync.as_ref().and_then(|s| s.last_attempt_at);
    live.max(source.last_attempt_at)
}

fn one(source: &SourceStatus, server: &str, now: Timestamp, paint: Paint) -> String {
    let mut out = String::new();
    let state = word(source.state);
    let _ = writeln!(
        out,
        "{}  {}",
        paint.paint(Tone::Strong, source.name.as_str()),
        paint.paint(tone_of(&state), &state)
    );
    if let Some(message) = outcome_message(&source.outcome) {
        let _ = writeln!(out, "  {}", one_line(message));
    }
    let mut field = |name: &str, value: String| {
        let _ = writeln!(
            out,
            "  {}  {value}",
            paint.paint(Tone::Faint, &format!("{name:<8}"))
        );
    };
    let at = |commit: &Option<crate::model::CommitId>, at: Option<Timestamp>| {
        let commit = commit.as_ref().map_or("-", |c| c.short());
        match at {
            Some(at) => format!("{commit}, {} ago", age(now, at)),
            None => commit.to_owned(),
        }
    };
    field("url", one_line(&source.url));
    field("branch", one_line(&source.branch));
    field(
        "path",
        if source.path.is_empty() {
            "/".to_owned()
        } else {
            one_line(&source.path)
        },
    );
    field("project", source.project.to_string());
    field("interval", source.interval.clone());
    field("seen", at(&source.last_seen, attempted(source)));
    field("applied", at(&source.last_applied, source.last_applied_at));
    field("apps", source.apps.to_string());
    field("version", source.version.to_string());
    if let Some(forge) = &source.forge {
        let told = source.forge_state.as_ref().and_then(|s| s.last_told_at);
        field(
            "statuses",
            format!(
                "{} {} ({}){}",
                forge.kind.as_str(),
                one_line(&forge.repository),
                one_line(&forge.api_url),
                told.map_or(String::new(), |at| format!(", told {} ago", age(now, at)))
            ),
        );
        let policy = source.pull_requests;
        let planned = match (policy.plan, policy.forks) {
            (false, _) => "not planned",
            (true, false) => "planned, but those of forks",
            (true, true) => "planned, those of forks too",
        };
        field("pulls", planned.to_owned());
        if let Some(checks) = &source.checks {
            let plan = checks.plan.as_ref();
            let plan = plan.map_or(String::new(), |p| {
                format!(", of pull requests {}", one_line(p))
            });
            field("checks", format!("{}{plan}", one_line(&checks.commit)));
        }
    }
    if let Some(parent) = &source.declared_by {
        field("from", format!("declared by source {parent}"));
    }
    for warning in source.sync.iter().flat_map(|s| &s.warnings) {
        let _ = writeln!(
            out,
            "  {} {}",
            paint.paint(Tone::Bad, "warning"),
            one_line(warning)
        );
    }
    if let Some(held) = &source.held {
        let _ = writeln!(
            out,
            "  {} {} ({} ago, commit {})",
            paint.paint(Tone::Bad, "held"),
            one_line(&held.reason),
            age(now, held.since),
            held.commit.short(),
        );
        for deletion in &held.deletions {
            let _ = writeln!(out, "    {} ({})", deletion.app, one_line(&deletion.file));
        }
        let _ = writeln!(
            out,
            "    to let these through and no others: evenkeel source approve {} --as-of {}",
            source.name, source.version
        );
    }
    for problem in &source.problems {
        let _ = writeln!(
            out,
            "  {} {}",
            paint.paint(Tone::Bad, "problem"),
            one_line(&problem.to_string())
        );
    }
    out.push_str(&webhook::show(&source.webhook, server, now, paint));
    out
}

fn outcome_message(outcome: &SyncOutcome) -> Option<&str> {
    match outcome {
        SyncOutcome::Never | SyncOutcome::Ok => None,
        SyncOutcome::Unreachable { message }
        | SyncOutcome::Lost { message }
        | SyncOutcome::Refused { message } => Some(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_become_absolute() {
        assert_eq!(
            url_of("https://forge/x.git"),
            Ok("https://forge/x.git".into())
        );
        assert_eq!(url_of("git@forge:x.git"), Ok("git@forge:x.git".into()));
        assert_eq!(url_of("/srv/repo"), Ok("/srv/repo".into()));
        let here = url_of(".").expect("the working folder");
        assert!(here.starts_with('/') && !here.ends_with('.'), "{here}");
    }
}
