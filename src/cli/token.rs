//! `token …`: who may use the API.

use crate::api::{NewToken, TokenInput, TokenView};
use crate::clock;
use crate::model::{ProjectName, Timestamp};

use super::args::{Global, TokenCommand, TokenCreateArgs};
use super::exit::{Code, Outcome};
use super::output::{Cell, Paint, Table, age, print};
use super::server::connect;

pub async fn run(global: &Global, command: TokenCommand) -> Outcome {
    let client = connect(global)?;
    match command {
        TokenCommand::Create(args) => {
            let made = client.create_token(&input(args)).await?;
            print(global.output, &made, |_| new(&made))?;
        }
        TokenCommand::List => {
            let tokens = client.tokens().await?;
            print(global.output, &tokens, |paint| {
                list(&tokens, clock::now(), paint)
            })?;
        }
        TokenCommand::Revoke { name } => {
            client.revoke_token(&name).await?;
            let done = serde_json::json!({"name": name, "revoked": true});
            print(global.output, &done, |_| format!("revoked token {name}\n"))?;
        }
    }
    Ok(Code::Done)
}

fn input(args: TokenCreateArgs) -> TokenInput {
    TokenInput {
        name: args.name,
        role: args.role,
        projects: (!args.only.is_empty()).then_some(args.only),
        expires_in: args.expires,
    }
}

/// The text alone on its line, so that it can be copied; what it is around it.
fn new(made: &NewToken) -> String {
    format!(
        "{}\n\nThis is token {}, {} of {}; it is not shown again.\n  use: EVENKEEL_TOKEN=… evenkeel status\n",
        made.token,
        made.view.name,
        made.view.role,
        scope(made.view.projects.as_deref()),
    )
}

fn scope(projects: Option<&[ProjectName]>) -> String {
    match projects {
        None => "all projects".to_owned(),
        Some(projects) => {
            let names: Vec<&str> = projects.iter().map(ProjectName::as_str).collect();
            names.join(", ")
        }
    }
}

fn list(tokens: &[TokenView], now: Timestamp, paint: Paint) -> String {
    if tokens.is_empty() {
        return "there are no named tokens; make one: evenkeel token create NAME --role viewer\n"
            .to_owned();
    }
    let mut table = Table::new(&[
        "NAME",
        "ROLE",
        "PROJECTS",
        "EXPIRES",
        "LAST USED",
        "MADE BY",
    ]);
    for token in tokens {
        let expires = match token.expires_at {
            None => "never".to_owned(),
            Some(at) if at <= now => "expired".to_owned(),
            Some(at) => at.to_string(),
        };
        let used = token.last_used_at;
        table.row([
            Cell::new(&*token.name),
            Cell::state(token.role),
            Cell::new(scope(token.projects.as_deref())),
            Cell::new(expires),
            Cell::new(used.map_or_else(|| "never".to_owned(), |at| age(now, at))),
            Cell::new(&*token.created_by),
        ]);
    }
    table.render(paint, "")
}
