//! The command line: verbs for operators, and the roles a process can play.
//!
//! Verbs only speak to the API and print; they decide nothing. Tables are for
//! people and may change; `-o json|yaml` and the exit codes ([`exit::Code`])
//! are for programs and may not.

pub mod args;
mod events;
pub mod exit;
pub mod output;
mod plan;
pub mod roles;
mod server;
mod source;
mod status;
mod token;
mod validate;
mod verbs;
mod wait;
mod webhook;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};
use exit::{Code, Failure, Outcome};

/// Runs what the arguments say; the program's whole life.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
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
            eprintln!("{failure}");
            failure.code.into()
        }
    }
}

fn dispatch(cli: Cli) -> Outcome {
    let global = cli.global;
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
            Command::Rollback(args) => verbs::rollback(&global, args).await,
            Command::Release(args) => verbs::release(&global, args).await,
            Command::Suspend(args) => verbs::suspend(&global, args).await,
            Command::Resume(args) => verbs::resume(&global, args).await,
            Command::Nodes => verbs::nodes(&global).await,
            Command::Source(command) => source::run(&global, command).await,
            Command::Plan(args) => plan::run(&global, args).await,
            Command::Token(command) => token::run(&global, command).await,
            Command::Validate { dir } => validate::validate(&global, &dir),
            Command::Schema => validate::schema(&global),
        }
    })
}
