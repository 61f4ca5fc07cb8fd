//! What an error says, with its causes: libraries' own texts leave out why.

use std::error::Error;

/// All of it on one line.
pub fn chain(error: &dyn Error) -> String {
    after(error.to_string(), error)
}

/// The same with other words for the error itself. What was said already is not said again.
pub fn after(mut text: String, error: &dyn Error) -> String {
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn each_cause_is_told_once() {
        let refused = Layer("connection refused", None);
        let connect = Layer("connect: connection refused", Some(refused.into()));
        let send = Layer("cannot be sent", Some(connect.into()));
        assert_eq!(chain(&send), "cannot be sent: connect: connection refused");
        assert_eq!(
            after("no answer".to_owned(), &send),
            "no answer: connect: connection refused"
        );
    }
}
