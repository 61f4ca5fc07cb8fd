//! Verbs on one app, `why`, `logs`.

use futures_util::StreamExt as _;
use serde::Serialize;

use crate::api::{AppStatus, RollbackInput, ScaleInput, SuspendInput, Why};
use crate::client::Client;
use crate::model::AppKey;

use super::args::{AppArgs, Format, Global, LogsArgs};
use super::exit::{Code, Failure, Outcome};
use super::follow::{Which, follow, rollout_of};
use super::output::{one_line, print, write_bytes, write_one};
use super::server::{connect, find_app};
use super::status;
use super::verb_args::{
    RestartArgs, RollbackArgs, ScaleArgs, SeenArgs, SuspendArgs, WaitArgs, WaitedArgs,
};

pub(super) fn show(global: &Global, status: &AppStatus) -> Result<(), Failure> {
    print(global.output, status, |paint| {
        status::overview(std::slice::from_ref(status), paint)
    })
}

/// The server, the app that is meant, and the rollout it had before. Where an operator or a
/// commit acts on it after this look, what is asked for is refused: it was meant for what was
/// seen here, or before that by who asks.
pub(super) async fn start(
    global: &Global,
    name: &str,
    seen: SeenArgs,
) -> Result<(Client, AppKey, Which), Failure> {
    let client = connect(global)?;
    let key = find_app(&client, global, name).await?;
    let status = client.app_now(&key).await?;
    let before = rollout_of(&status).map(|r| r.id);
    let client = client.as_of(seen.as_of.unwrap_or(status.version));
    Ok((client, key, Which::After(before)))
}

/// Waits for what the answer began where that is asked for, and shows the app as it is then.
pub(super) async fn finish(
    client: &Client,
    global: &Global,
    key: &AppKey,
    answer: AppStatus,
    which: Which,
    wait: WaitArgs,
) -> Outcome {
    let (status, code) = if wait.wait {
        follow(client, global, key, answer, which, Some(wait.timeout)).await?
    } else {
        (answer, Code::Done)
    };
    show(global, &status)?;
    Ok(code)
}

pub async fn rollback(global: &Global, args: RollbackArgs) -> Outcome {
    let (client, key, next) = start(global, &args.app, args.ground.seen).await?;
    let input = RollbackInput {
        reason: args.ground.reason,
        to: args.to,
    };
    let answer = client.rollback(&key, &input).await?;
    finish(&client, global, &key, answer, next, args.wait).await
}

pub async fn release(global: &Global, args: WaitedArgs) -> Outcome {
    let (client, key, next) = start(global, &args.app, args.seen).await?;
    let answer = client.release(&key).await?;
    // A paused rollout goes on as the one it was.
    let which = match &answer.rollout {
        Some(_) => Which::Present,
        None => next,
    };
    finish(&client, global, &key, answer, which, args.wait).await
}

pub async fn restart(global: &Global, args: RestartArgs) -> Outcome {
    let (client, key, next) = start(global, &args.app, args.ground.seen).await?;
    let answer = client.restart(&key, args.ground.reason).await?;
    finish(&client, global, &key, answer, next, args.wait).await
}

pub async fn scale(global: &Global, args: ScaleArgs) -> Outcome {
    let (client, key, _) = start(global, &args.app, args.ground.seen).await?;
    let answer = match args.replicas {
        Some(replicas) => {
            let input = ScaleInput {
                replicas,
                reason: args.ground.reason,
                duration: args.span,
            };
            client.scale(&key, &input).await?
        }
        None => client.unscale(&key).await?,
    };
    finish(&client, global, &key, answer, Which::Count, args.wait).await
}

pub async fn suspend(global: &Global, args: SuspendArgs) -> Outcome {
    let client = args.ground.seen.guard(connect(global)?);
    let key = find_app(&client, global, &args.app).await?;
    let input = SuspendInput {
        reason: args.ground.reason,
        duration: args.span,
    };
    show(global, &client.suspend(&key, &input).await?)?;
    Ok(Code::Done)
}

pub async fn resume(global: &Global, args: WaitedArgs) -> Outcome {
    let client = args.seen.guard(connect(global)?);
    let key = find_app(&client, global, &args.app).await?;
    let answer = client.resume(&key).await?;
    if args.wait.wait {
        let wait = args.wait.timeout;
        let (status, code) = super::wait::run(&client, global, &key.to_string(), wait).await?;
        show(global, &status)?;
        return Ok(code);
    }
    show(global, &answer)?;
    Ok(Code::Done)
}

pub async fn why(global: &Global, args: AppArgs) -> Outcome {
    let client = connect(global)?;
    let key = find_app(&client, global, &args.app).await?;
    let why = client.why(&key).await?;
    print(global.output, &why, |_| why_text(&why))?;
    Ok(Code::Done)
}

fn why_text(why: &Why) -> String {
    let (sync, health) = (
        super::output::word(why.sync),
        super::output::word(why.health),
    );
    let mut out = format!("{}/{} is {sync} and {health}\n", why.project, why.name);
    for reason in &why.reasons {
        out.push_str(&format!("  {}\n", one_line(reason)));
    }
    out
}

pub async fn logs(global: &Global, args: LogsArgs) -> Outcome {
    let client = connect(global)?;
    let key = find_app(&client, global, &args.app).await?;
    let mut chunks = client
        .logs(&key, args.tail, args.follow, args.instance.as_deref())
        .await?;
    let mut shown = Shown {
        format: global.output,
        alone: args.instance,
        rest: Vec::new(),
    };
    while let Some(chunk) = chunks.next().await {
        shown.take(&chunk?)?;
    }
    shown.end()?;
    Ok(Code::Done)
}

/// Output on its way out: as it is for people, a document per line for programs.
struct Shown {
    format: Format,
    /// The only instance, as it was named: its lines do not say whose they are.
    alone: Option<String>,
    /// Of a line that has not ended yet.
    rest: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct LogLine {
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<u32>,
    instance: Option<String>,
    line: String,
}

impl Shown {
    fn take(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        if self.format == Format::Table {
            return write_bytes(chunk);
        }
        self.rest.extend_from_slice(chunk);
        while let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.line(&line[..end])?;
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), Failure> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() {
            return Ok(());
        }
        self.line(&rest)
    }

    fn line(&self, line: &[u8]) -> Result<(), Failure> {
        let line = log_line(&String::from_utf8_lossy(line), self.alone.as_deref());
        write_one(self.format, &line)
    }
}

/// `SLOT/INSTANCE LINE`, as the server sends the output of several.
fn log_line(text: &str, alone: Option<&str>) -> LogLine {
    let origin = || {
        let (origin, line) = text.split_once(' ')?;
        let (slot, instance) = origin.split_once('/')?;
        Some((slot.parse().ok()?, instance.to_owned(), line.to_owned()))
    };
    match (alone, origin()) {
        (None, Some((slot, instance, line))) => LogLine {
            slot: Some(slot),
            instance: Some(instance),
            line,
        },
        (alone, _) => LogLine {
            slot: None,
            instance: alone.map(str::to_owned),
            line: text.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_programs_say_whose_they_are() {
        let line = |slot, instance: Option<&str>, line: &str| LogLine {
            slot,
            instance: instance.map(str::to_owned),
            line: line.to_owned(),
        };
        let several = log_line("2/1f3c9a2b hello 3/x", None);
        assert_eq!(several, line(Some(2), Some("1f3c9a2b"), "hello 3/x"));
        let one = log_line("2/1f3c9a2b hello", Some("1f3c"));
        assert_eq!(one, line(None, Some("1f3c"), "2/1f3c9a2b hello"));
        let words = log_line("no origin", None);
        assert_eq!(words, line(None, None, "no origin"));
    }
}
