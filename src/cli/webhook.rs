//! A source's webhook as `source show` tells it: what to enter at the forge, and what came.

use std::fmt::Write as _;

use crate::api::{Webhook, WebhookSetup};
use crate::model::{DeliveryLog, DeliveryRecord, Timestamp, Vendor};

use super::output::{Cell, Paint, Table, Tone, age, one_line};

/// Characters of a delivery's id.
const ID: usize = 13;

/// `server` is what this program reached; servers before this one do not tell the address.
pub fn show(webhook: &Webhook, server: &str, now: Timestamp, paint: Paint) -> String {
    let mut out = String::new();
    let mut field = |name: &str, value: &str| {
        let name = paint.paint(Tone::Faint, &format!("{name:<8}"));
        let _ = writeln!(out, "  {name}  {value}");
    };
    let url = match webhook.url.as_str() {
        "" => format!("{server}{}", webhook.path),
        url => url.to_owned(),
    };
    field("webhook", &one_line(&url));
    match &webhook.secret_file {
        Some(file) => field("secret", &format!("content of {} there", one_line(file))),
        None => field(
            "secret",
            "none is set: deliveries are refused (--webhook-secret-file)",
        ),
    }
    if is_loopback(&url) {
        field(
            "",
            "only that machine itself reaches this address; for a forge elsewhere: evenkeel up --external-url URL",
        );
    }
    if webhook.configured {
        for setup in likely(webhook) {
            field(&format!("at {}", setup.title), "");
            for line in steps(setup) {
                field("", &line);
            }
        }
    }
    if let Some(log) = &webhook.deliveries {
        out.push_str(&deliveries(log, now, paint));
    }
    out
}

/// Of the vendor that the settings or the last deliveries name; else of each.
fn likely(webhook: &Webhook) -> impl Iterator<Item = &WebhookSetup> {
    let delivered = webhook.deliveries.as_ref().and_then(|log| {
        let known = log.last.iter().find_map(|r| r.vendor);
        known.filter(|v| *v != Vendor::Generic)
    });
    let vendor = delivered.or(webhook.vendor);
    let of = move |setup: &&WebhookSetup| vendor.is_none_or(|v| v == setup.vendor);
    webhook.setup.iter().filter(of)
}

fn steps(setup: &WebhookSetup) -> Vec<String> {
    let mut lines = vec![setup.place.clone()];
    lines.extend(
        setup
            .content_type
            .as_ref()
            .map(|t| format!("content type: {t}")),
    );
    lines.push(format!("{}: the secret", setup.secret_field));
    lines.push(match setup.vendor {
        Vendor::Generic => format!("body: {}", setup.events.join(", ")),
        _ => format!("events: {}", setup.events.join(", ")),
    });
    lines
}

fn deliveries(log: &DeliveryLog, now: Timestamp, paint: Paint) -> String {
    if log.last.is_empty() && log.forged.is_empty() {
        return format!(
            "  {}  none yet\n",
            paint.paint(Tone::Faint, &format!("{:<8}", "arrived"))
        );
    }
    let mut out = String::new();
    if !log.last.is_empty() {
        let _ = writeln!(out, "  last of {} deliveries", log.total);
        out.push_str(&table(log.last.iter(), now, paint));
    }
    if let Some(last) = log.forged.front() {
        let _ = writeln!(
            out,
            "  {} {} refused, the last {} ago; they do nothing",
            paint.paint(Tone::Bad, "forged"),
            log.forged_total,
            age(now, last.at)
        );
        out.push_str(&table(log.forged.iter(), now, paint));
    }
    out
}

fn table<'a>(
    records: impl Iterator<Item = &'a DeliveryRecord>,
    now: Timestamp,
    paint: Paint,
) -> String {
    let mut table = Table::new(&["AGE", "VENDOR", "EVENT", "ID", "VERDICT", "DETAIL"]);
    for record in records {
        let id: String = record
            .id
            .iter()
            .flat_map(|id| id.chars())
            .take(ID)
            .collect();
        table.row([
            age(now, record.at).into(),
            record.vendor.map_or("-", Vendor::title).to_owned().into(),
            dash(&one_line(&record.event)).into(),
            dash(&one_line(&id)).into(),
            Cell::state(record.verdict),
            one_line(&record.detail).into(),
        ]);
    }
    table.render(paint, "    ")
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

/// Whether nobody but the machine itself gets there.
fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    authority.starts_with("127.")
        || authority.starts_with("[::1]")
        || authority.split(':').next() == Some("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DeliveryVerdict;

    fn record(verdict: DeliveryVerdict, detail: &str) -> DeliveryRecord {
        DeliveryRecord {
            at: Timestamp(0),
            vendor: Some(Vendor::GitHub),
            event: "push".to_owned(),
            id: Some("72d3162e-cc78-11e3-81ab-4c9367dc0958".to_owned()),
            verdict,
            detail: detail.to_owned(),
        }
    }

    fn webhook() -> Webhook {
        let setup = |vendor: Vendor, event: &str| WebhookSetup {
            vendor,
            title: vendor.title().to_owned(),
            place: "Settings".to_owned(),
            content_type: None,
            secret_field: "Secret".to_owned(),
            events: vec![event.to_owned()],
        };
        Webhook {
            url: "https://keel.example/api/v1/hooks/shop".to_owned(),
            path: "/api/v1/hooks/shop".to_owned(),
            configured: true,
            secret_file: Some("/etc/keel/hook".to_owned()),
            vendor: None,
            setup: vec![
                setup(Vendor::GitHub, "Pushes"),
                setup(Vendor::GitLab, "Push events"),
            ],
            deliveries: Some(DeliveryLog::default()),
        }
    }

    #[test]
    fn it_says_what_to_enter_where() {
        let mut webhook = webhook();
        let text = show(&webhook, "http://s", Timestamp(0), Paint::NONE);
        for part in [
            "webhook   https://keel.example/api/v1/hooks/shop\n",
            "content of /etc/keel/hook",
            "at GitHub",
            "events: Push events",
            "none yet",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        assert!(!text.contains("--external-url"));
        webhook.vendor = Some(Vendor::GitLab);
        webhook.url = "http://127.0.0.1:7600/api/v1/hooks/shop".to_owned();
        let text = show(&webhook, "http://s", Timestamp(0), Paint::NONE);
        assert!(!text.contains("at GitHub") && text.contains("at GitLab"));
        assert!(text.contains("--external-url"), "{text}");
        webhook.configured = false;
        webhook.secret_file = None;
        let text = show(&webhook, "http://s", Timestamp(0), Paint::NONE);
        assert!(text.contains("--webhook-secret-file"), "{text}");
    }

    #[test]
    fn deliveries_are_listed_and_forged_ones_apart() {
        let mut webhook = webhook();
        let mut log = DeliveryLog::default();
        log.add(record(DeliveryVerdict::Accepted, "branch main moved"));
        log.add(record(DeliveryVerdict::Forged, "wrong\nsignature"));
        webhook.deliveries = Some(log);
        let text = show(&webhook, "http://s", Timestamp(5000), Paint::NONE);
        let lines: Vec<&str> = text.lines().collect();
        let line = |part: &str| lines.iter().position(|l| l.contains(part)).expect(part);
        assert!(line("accepted") < line("forged 1 refused, the last 5s ago"));
        assert!(lines[line("accepted")].contains("GitHub  push   72d3162e-cc78"));
        assert!(line("wrong signature") > line("forged 1 refused"));
        // It came from there.
        assert!(!text.contains("at GitLab"));
    }
}
