//! Verbs on one app, `why`, `logs`.

use std::io::Write as _;

use futures_util::StreamExt as _;

use crate::api::{AppStatus, RollbackInput, ScaleInput, SuspendInput, Why};
use crate::client::Client;
use crate::model::AppKey;

use super::args::{AppArgs, Global, LogsArgs};
use super::exit::{Code, Failure, Outcome};
use super::follow::{Which, after, rollout_of};
use super::output::{one_line, print};
use super::server::{connect, find_app};
use super::status;
use super::verb_args::{RestartArgs, RollbackArgs, ScaleArgs, SuspendArgs, WaitedArgs};

pub(super) fn show(global: &Global, status: &AppStatus) -> Result<(), Failure> {
    print(global.output, status, |paint| {
        status::overview(std::slice::from_ref(status), paint)
    })
}

/// The server, the app that is meant, and the rollout it had before.
pub(super) async fn start(global: &Global, name: &str) -> Result<(Client, AppKey, Which), Failure> {
    let client = connect(global)?;
    let key = find_app(&client, global, name).await?;
    let before = rollout_of(&client.app(&key).await?).map(|r| r.id);
    Ok((client, key, Which::After(before)))
}

pub async fn rollback(global: &Global, args: RollbackArgs) -> Outcome {
    let (client, key, next) = start(global, &args.app).await?;
    let input = RollbackInput {
        reason: args.reason,
        to: args.to,
    };
    let answer = client.rollback(&key, &input).await?;
    let (status, code) = after(&client, global, &key, answer, next, args.wait).await?;
    show(global, &status)?;
    Ok(code)
}

pub async fn release(global: &Global, args: WaitedArgs) -> Outcome {
    let (client, key, next) = start(global, &args.app).await?;
    let answer = client.release(&key).await?;
    // A paused rollout goes on as the one it was.
    let which = match &answer.rollout {
        Some(_) => Which::Present,
        None => next,
    };
    let (status, code) = after(&client, global, &key, answer, which, args.wait).await?;
    show(global, &status)?;
    Ok(code)
}

pub async fn restart(global: &Global, args: RestartArgs) -> Outcome {
    let (client, key, next) = start(global, &args.app).await?;
    let answer = client.restart(&key, args.reason).await?;
    let (status, code) = after(&client, global, &key, answer, next, args.wait).await?;
    show(global, &status)?;
    Ok(code)
}

pub async fn scale(global: &Global, args: ScaleArgs) -> Outcome {
    let (client, key, _) = start(global, &args.app).await?;
    let answer = match args.replicas {
        Some(replicas) => {
            let input = ScaleInput {
                replicas,
                reason: args.reason,
                duration: args.span,
            };
            client.scale(&key, &input).await?
        }
        None => client.unscale(&key).await?,
    };
    let (status, code) = after(&client, global, &key, answer, Which::Count, args.wait).await?;
    show(global, &status)?;
    Ok(code)
}

pub async fn suspend(global: &Global, args: SuspendArgs) -> Outcome {
    let client = connect(global)?;
    let key = find_app(&client, global, &args.app).await?;
    let input = SuspendInput {
        reason: args.reason,
        duration: args.span,
    };
    show(global, &client.suspend(&key, &input).await?)?;
    Ok(Code::Done)
}

pub async fn resume(global: &Global, args: WaitedArgs) -> Outcome {
    let client = connect(global)?;
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
    let mut out = std::io::stdout();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        if let Err(error) = out.write_all(&chunk).and_then(|()| out.flush()) {
            // A reader that has left (`| head`) is no failure of ours.
            return match error.kind() {
                std::io::ErrorKind::BrokenPipe => Ok(Code::Done),
                _ => Err(Failure::new(Code::Failed, format!("cannot write: {error}"))),
            };
        }
    }
    Ok(Code::Done)
}
