//! `events`: the record, and what happens now.

use std::fmt::Write as _;

use crate::client::{Client, Error, EventQuery};
use crate::model::Event;

use super::args::{EventsArgs, Format, Global};
use super::exit::{Code, Failure, Outcome};
use super::output::{Paint, Tone, one_line, print, write, write_one};
use super::server::{connect, find_app};

pub async fn run(global: &Global, args: EventsArgs) -> Outcome {
    let client = connect(global)?;
    let app = match &args.app {
        Some(name) => Some(find_app(&client, global, name).await?.to_string()),
        None => None,
    };
    let mut query = EventQuery {
        app,
        source: args.source,
        kind: args.kind,
        limit: Some(args.limit.max(1)),
        ..EventQuery::default()
    };
    let page = client.events(&query).await?;
    if !args.follow {
        print(global.output, &page.items, |paint| {
            table(&page.items, paint)
        })?;
        return Ok(Code::Done);
    }
    let paint = Paint::for_stdout();
    if args.limit > 0 {
        for event in &page.items {
            one(global.output, event, paint)?;
        }
    }
    query.after = page.items.last().map(|e| e.id);
    query.limit = None;
    follow(&client, query, global.output, paint).await
}

/// Goes on after the server went away and came back, without a gap.
async fn follow(client: &Client, mut query: EventQuery, format: Format, paint: Paint) -> Outcome {
    let mut stream = client.watch_events(&query).await?;
    loop {
        match stream.next().await {
            Ok(Some(event)) => {
                query.after = Some(event.id);
                one(format, &event, paint)?;
            }
            Err(Error::Missed(gap)) => {
                query.after = Some(gap.until);
                eprintln!(
                    "some events were missed: {}\n  try: evenkeel status",
                    gap.why
                );
            }
            Ok(None) | Err(Error::Unreachable { .. } | Error::Timeout { .. }) => {
                stream = reconnect(client, &query).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// For as long as a restart of the server may take.
const RECONNECT_FOR: std::time::Duration = std::time::Duration::from_secs(60);
const RECONNECT_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

async fn reconnect(
    client: &Client,
    query: &EventQuery,
) -> Result<crate::client::events::EventStream, Failure> {
    eprintln!("the stream ended; connecting again");
    let deadline = tokio::time::Instant::now() + RECONNECT_FOR;
    loop {
        match client.watch_events(query).await {
            Ok(stream) => return Ok(stream),
            Err(error) if tokio::time::Instant::now() > deadline || refused(&error) => {
                return Err(error.into());
            }
            Err(_) => tokio::time::sleep(RECONNECT_EVERY).await,
        }
    }
}

fn refused(error: &Error) -> bool {
    matches!(error.status(), Some(400..=499))
}

/// One event of a live stream: a line, or a line of JSON, or a YAML document.
fn one(format: Format, event: &Event, paint: Paint) -> Result<(), Failure> {
    match format {
        Format::Table => write(&line(event, paint)),
        Format::Json | Format::Yaml => write_one(format, event),
    }
}

fn table(events: &[Event], paint: Paint) -> String {
    if events.is_empty() {
        return "no events\n".to_owned();
    }
    events.iter().map(|e| line(e, paint)).collect()
}

fn line(event: &Event, paint: Paint) -> String {
    let tone = match event.kind.as_str() {
        k if k.ends_with("ailed")
            || k.ends_with("rolledBack")
            || k.ends_with("quarantined")
            || k.ends_with("nvalid")
            || k.ends_with(".lost")
            || k.ends_with("exited")
            || k.ends_with("blocked") =>
        {
            Tone::Bad
        }
        k if k.ends_with("succeeded") || k.ends_with("stable") || k.ends_with("ready") => {
            Tone::Good
        }
        _ => Tone::Plain,
    };
    let mut line = format!(
        "{}  {}  ",
        paint.paint(Tone::Faint, &event.at.to_string()),
        paint.paint(tone, &format!("{:<20}", event.kind.as_str())),
    );
    if let Some(app) = &event.app {
        let _ = write!(line, "{app}  ");
    } else if let Some(source) = &event.source {
        let _ = write!(line, "{source}  ");
    } else if let Some(node) = &event.node {
        let _ = write!(line, "{node}  ");
    }
    line.push_str(&one_line(&event.message));
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, EventKind, Timestamp};

    #[test]
    fn a_line_says_when_what_where_and_why() {
        let mut event = Event::new(
            Timestamp(1_700_000_000_000),
            Actor::Controller,
            EventKind::RolloutRolledBack,
            "5e6f7a8b was rejected: exit code 3",
        );
        event.app = "shop/web".parse().ok();
        assert_eq!(
            line(&event, Paint::NONE),
            "2023-11-14T22:13:20.000Z  rollout.rolledBack    shop/web  5e6f7a8b was rejected: exit code 3\n"
        );
    }
}
