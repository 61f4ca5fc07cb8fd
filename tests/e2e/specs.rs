//! App specs as a user would write them, with one knob each.

/// How a version behaves once it runs.
#[derive(Clone, Copy)]
pub enum Version<'a> {
    /// Serves its name on port 8080.
    Good(&'a str),
    /// Prints why and exits with code 3.
    Crashes(&'a str),
    /// Runs, and answers 503 for ever.
    NeverReady(&'a str),
    /// Good in slot 0, crashes in every other slot.
    BadBeyondFirst(&'a str),
}

/// A web app of `replicas` instances, ready when `GET /` answers 200.
pub struct Web<'a> {
    pub name: &'a str,
    pub replicas: u32,
    pub rollout: &'a str,
    pub extra: &'a str,
    pub image: &'a str,
}

impl Default for Web<'_> {
    fn default() -> Self {
        Web {
            name: "web",
            replicas: 3,
            rollout: "{minHealthyTime: 300ms, startAttempts: 2}",
            extra: "",
            image: crate::engine::IMAGE,
        }
    }
}

impl Web<'_> {
    pub fn spec(&self, version: Version<'_>) -> String {
        let (name, script) = match version {
            Version::Good(name) => (name, String::new()),
            Version::Crashes(name) => (
                name,
                "echo \"fatal: cannot open the database\"; exit 3; ".to_owned(),
            ),
            Version::NeverReady(name) => (
                name,
                "rm -f /tmp/index.html; exec httpd -f -p 8080 -h /proc; ".to_owned(),
            ),
            Version::BadBeyondFirst(name) => {
                (name, "test \"$EVENKEEL_SLOT\" = 0 || exit 4; ".to_owned())
            }
        };
        format!(
            r#"apiVersion: evenkeel.dev/v1
kind: App
metadata: {{name: {app}, project: shop}}
spec:
  image: {image}
  command: ["/bin/sh", "-c"]
  args: ['echo "$VERSION" > /tmp/index.html; {script}exec httpd -f -p 8080 -h /tmp']
  env: {{VERSION: "{name}"}}
  replicas: {replicas}
  ports: [{{name: http, port: 8080}}]
  health:
    readiness: {{http: {{port: http, path: /index.html}}, interval: 300ms, timeout: 1s}}
  rollout: {rollout}
  restart: {{backoff: 200ms}}
  stopGracePeriod: 1s
{extra}"#,
            app = self.name,
            image = self.image,
            replicas = self.replicas,
            rollout = self.rollout,
            extra = self.extra,
        )
    }
}

/// The default web app in that version.
pub fn web(version: Version<'_>) -> String {
    Web::default().spec(version)
}

pub fn named(name: &str, version: Version<'_>) -> String {
    Web {
        name,
        replicas: 1,
        ..Web::default()
    }
    .spec(version)
}
