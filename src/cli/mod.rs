//! The command line: verbs for operators, and the roles a process can play.
//!
//! Verbs only speak to the API and print; they decide nothing. Tables are for
//! people and may change; `-o json|yaml` and the exit codes ([`exit::Code`])
//! are for programs and may not.

pub mod args;
mod columns;
mod context;
mod events;
mod exec;
pub mod exit;
mod explain;
mod follow;
mod init;
mod next;
mod nodes;
pub mod output;
mod patience;
mod plan;
mod progress;
pub mod roles;
mod rollout;
mod server;
mod source;
mod status;
mod table;
mod token;
mod validate;
mod verb_args;
mod verbs;
mod verdict;
mod wait;
mod webhook;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use args::{Cli, Command};
use exit::{Code, Failure, Outcome};
use next::Asked;

/// Runs what the arguments say; the program's whole life.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = Cli::command().try_get_matches_from(args).and_then(|found| {
        let cli = Cli::from_arg_matches(&found)?;
        Ok((cli, Asked::of(&found)))
    });
    let (cli, asked) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version go to standard output and are no failure.
            let _ = error.print();
            return if error.use_stderr() {
                Code::Usage.into()
            } else {
                Code::Done.into()
            };
        }
    };
    match dispatch(cli) {
        Ok(code) => code.into(),
        Err(failure) => {
            let failure = asked.complete(failure);
            eprintln!("{failure}");
            failure.code.into()
        }
    }
}

fn dispatch(cli: Cli) -> Outcome {
    let mut global = cli.global;
    if speaks_to_server(&cli.command) {
        context::apply(&mut global)?;
        progress::clear_on_interrupt();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Code::Failed, format!("cannot start the runtime: {e}")))?;
    runtime.block_on(async {
        match cli.command {
            Command::Up(args) => Ok(roles::run_up(args).await.map(|()| Code::Done)?),
            Command::Controller(args) => {
                Ok(roles::run_controller(args).await.map(|()| Code::Done)?)
            }
            Command::Agent(args) => Ok(roles::run_agent(args).await.map(|()| Code::Done)?),
            Command::Status(args) => status::run(&global, args).await,
            Command::Why(args) => verbs::why(&global, args).await,
            Command::Events(args) => events::run(&global, args).await,
            Command::Logs(args) => verbs::logs(&global, args).await,
            Command::Apps(args) => rollout::apps(&global, args).await,
            Command::Diff(args) => rollout::diff(&global, args).await,
            Command::Rollout(command) => rollout::run(&global, command).await,
            Command::Rollback(args) => verbs::rollback(&global, args).await,
            Command::Release(args) => verbs::release(&global, args).await,
            Command::Restart(args) => verbs::restart(&global, args).await,
            Command::Exec(args) => exec::run(&global, args).await,
            Command::Scale(args) => verbs::scale(&global, args).await,
            Command::Suspend(args) => verbs::suspend(&global, args).await,
            Command::Resume(args) => verbs::resume(&global, args).await,
            Command::Nodes => nodes::nodes(&global).await,
            Command::Cordon(args) => nodes::cordon(&global, args).await,
            Command::Uncordon(args) => nodes::uncordon(&global, args).await,
            Command::Drain(args) => nodes::drain(&global, args).await,
            Command::Source(command) => source::run(&global, command).await,
            Command::Plan(args) => plan::run(&global, args).await,
            Command::Token(command) => token::run(&global, command).await,
            Command::Validate { dir } => validate::validate(&global, &dir),
            Command::Schema => validate::schema(&global),
            Command::Explain { field } => explain::run(&global, &field),
            Command::Init(args) => init::run(&global, args),
            Command::Context(command) => context::run(&global, command),
            Command::Completions { shell } => completions(shell),
        }
    })
}

/// Roles have settings of their own, and the rest works without a server.
fn speaks_to_server(command: &Command) -> bool {
    match command {
        Command::Up(_)
        | Command::Controller(_)
        | Command::Agent(_)
        | Command::Validate { .. }
        | Command::Schema
        | Command::Explain { .. }
        | Command::Init(_)
        | Command::Context(_)
        | Command::Completions { .. } => false,
        Command::Status(_)
        | Command::Why(_)
        | Command::Events(_)
        | Command::Logs(_)
        | Command::Apps(_)
        | Command::Diff(_)
        | Command::Rollout(_)
        | Command::Rollback(_)
        | Command::Release(_)
        | Command::Restart(_)
        | Command::Exec(_)
        | Command::Scale(_)
        | Command::Suspend(_)
        | Command::Resume(_)
        | Command::Nodes
        | Command::Cordon(_)
        | Command::Uncordon(_)
        | Command::Drain(_)
        | Command::Source(_)
        | Command::Plan(_)
        | Command::Token(_) => true,
    }
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(shell, &mut command, "evenkeel", &mut script);
    output::write(&String::from_utf8_lossy(&script))?;
    Ok(Code::Done)
}
