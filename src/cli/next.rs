//! The next command to try, where a failure itself names none.

use clap::ArgMatches;

use super::exit::{Code, Failure};

/// What was asked for, as far as it was understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `rollout pause`.
    verb: String,
    project: Option<String>,
    app: Option<String>,
}

impl Asked {
    pub fn of(matches: &ArgMatches) -> Asked {
        let mut asked = Asked::default();
        let mut at = Some(matches);
        while let Some(matches) = at {
            let text = |id: &str| matches.try_get_one::<String>(id).ok().flatten().cloned();
            asked.project = text("project").or(asked.project);
            asked.app = text("app").or(asked.app);
            at = matches.subcommand().map(|(name, inner)| {
                if !asked.verb.is_empty() {
                    asked.verb.push(' ');
                }
                asked.verb.push_str(name);
                inner
            });
        }
        asked
    }

    /// A failure always says what to try: in its own words, by its hint, or else by this one.
    pub fn complete(&self, mut failure: Failure) -> Failure {
        if failure.hint.is_none() && !failure.message.contains("`evenkeel ") {
            failure.hint = Some(self.next(failure.code));
        }
        failure
    }

    fn next(&self, code: Code) -> String {
        match code {
            Code::Usage => format!("evenkeel {} --help", self.verb),
            Code::Unreachable => "evenkeel context list".to_owned(),
            Code::Done | Code::Failed | Code::TimedOut | Code::Changes | Code::Command(_) => {
                self.look()
            }
        }
    }

    /// Where the state is that did not allow it.
    fn look(&self) -> String {
        if let Some(app) = &self.app {
            return match &self.project {
                Some(project) if !app.contains('/') => format!("evenkeel why {project}/{app}"),
                Some(_) | None => format!("evenkeel why {app}"),
            };
        }
        match self.verb.split(' ').next().unwrap_or_default() {
            "source" => "evenkeel source list".to_owned(),
            "token" => "evenkeel token list".to_owned(),
            "context" => "evenkeel context list".to_owned(),
            "cordon" | "uncordon" | "drain" | "nodes" => "evenkeel nodes".to_owned(),
            "up" | "controller" | "agent" | "validate" | "plan" | "init" | "schema" | "explain"
            | "completions" => format!("evenkeel {} --help", self.verb),
            _ => "evenkeel status".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Cli;
    use clap::CommandFactory as _;

    fn next(line: &str, code: Code) -> String {
        let words = line.split(' ');
        let matches = Cli::command().try_get_matches_from(words).unwrap();
        let failure = Asked::of(&matches).complete(Failure::new(code, "it failed"));
        failure.hint.unwrap()
    }

    #[test]
    fn every_failure_says_what_to_try() {
        for (line, code, expected) in [
            ("evenkeel scale web 3", Code::Failed, "evenkeel why web"),
            (
                "evenkeel -p shop restart web",
                Code::Failed,
                "evenkeel why shop/web",
            ),
            (
                "evenkeel restart shop/web -p x",
                Code::TimedOut,
                "evenkeel why shop/web",
            ),
            (
                "evenkeel rollout pause web",
                Code::Usage,
                "evenkeel rollout pause --help",
            ),
            ("evenkeel drain a", Code::Failed, "evenkeel nodes"),
            (
                "evenkeel source sync a",
                Code::Failed,
                "evenkeel source list",
            ),
            (
                "evenkeel token revoke a",
                Code::Failed,
                "evenkeel token list",
            ),
            ("evenkeel apps", Code::Unreachable, "evenkeel context list"),
            ("evenkeel events", Code::Failed, "evenkeel status"),
            (
                "evenkeel validate .",
                Code::Failed,
                "evenkeel validate --help",
            ),
        ] {
            assert_eq!(next(line, code), expected, "{line}");
        }
    }

    /// A command, whichever way it was refused.
    #[test]
    fn every_refusal_of_the_server_names_a_command() {
        use crate::api::ProblemDetails;
        use crate::client::Error;
        let matches = Cli::command()
            .try_get_matches_from(["evenkeel", "scale", "web", "3"])
            .unwrap();
        let asked = Asked::of(&matches);
        let url = || "http://127.0.0.1:9".to_owned();
        let mut errors = vec![
            Error::Timeout { url: url() },
            Error::Protocol {
                url: url(),
                what: "HTML".into(),
            },
            Error::Address {
                url: url(),
                why: "odd".into(),
            },
        ];
        for status in 400..=504 {
            for hint in [
                None,
                Some("/docs tells what each path takes"),
                Some("evenkeel nodes"),
            ] {
                let mut problem = ProblemDetails::new("slug", "title", status, "no");
                problem.hint = hint.map(str::to_owned);
                errors.push(Error::Problem(Box::new(problem)));
            }
        }
        for error in errors {
            let told = format!("{error:?}");
            let failure = asked.complete(Failure::from(error));
            let hint = failure.hint.unwrap();
            let command = hint.contains("evenkeel ") || hint.contains("curl http");
            assert!(command, "{told}: {hint}");
        }
    }

    #[test]
    fn what_says_it_itself_keeps_its_own_words() {
        let asked = Asked::default();
        let told = Failure::new(Code::Failed, "it is paused; `evenkeel rollout resume web`");
        assert_eq!(asked.complete(told.clone()), told);
        let hinted = Failure::usage("no").with_hint("evenkeel nodes");
        assert_eq!(asked.complete(hinted.clone()), hinted);
    }
}
