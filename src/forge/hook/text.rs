//! Texts from outside: refs, commits, titles, the form that a body may come in.

use crate::model::CommitId;

use super::Malformed;

/// Longest name of a branch or tag, in bytes; Git's own files end there.
const MAX_REF: usize = 1024;
/// Characters of a title, of an event's name, of an id.
const MAX_TITLE: usize = 200;
const MAX_WORD: usize = 100;

/// A name of a branch or tag as the forge gives it.
pub fn name(text: &str) -> Result<String, Malformed> {
    if text.is_empty() || text.len() > MAX_REF || text.contains(char::is_control) {
        return Err(Malformed(
            "the name of its branch or tag cannot be one".to_owned(),
        ));
    }
    Ok(text.to_owned())
}

/// A commit's hash; `None` for the zeros that stand for none.
pub fn commit(text: &str) -> Result<Option<CommitId>, Malformed> {
    if !matches!(text.len(), 40 | 64) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Malformed(format!(
            "\"{}\" is not the hash of a commit",
            word(text)
        )));
    }
    if text.bytes().all(|b| b == b'0') {
        return Ok(None);
    }
    Ok(Some(CommitId(text.to_ascii_lowercase())))
}

/// A hash that may be cut to its first digits, at least seven.
pub fn abbreviated(text: &str) -> Result<CommitId, Malformed> {
    if !(7..=64).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Malformed(format!(
            "\"{}\" is not the hash of a commit",
            word(text)
        )));
    }
    Ok(CommitId(text.to_ascii_lowercase()))
}

/// A whole hash in a field that may be absent or empty.
pub fn optional_commit(text: Option<&str>) -> Result<Option<CommitId>, Malformed> {
    match text {
        None | Some("") => Ok(None),
        Some(text) => commit(text),
    }
}

pub fn needed<T>(value: Option<T>, what: &str) -> Result<T, Malformed> {
    value.ok_or_else(|| Malformed(format!("it has no {what}")))
}

/// One line, cut between characters.
pub fn title(text: &str) -> String {
    line(text, MAX_TITLE)
}

/// A short text to be shown: an event's name, an id.
pub fn word(text: &str) -> String {
    line(text, MAX_WORD)
}

fn line(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().take(most).map(plain).collect()
}

/// The field `payload` of a form: what GitHub and Gitea send unless told to send JSON.
pub fn form_payload(body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let payload = body
        .split(|&b| b == b'&')
        .find_map(|field| field.strip_prefix(b"payload="));
    let payload = needed(payload, "field payload, which its Content-Type promises")?;
    let mut out = Vec::with_capacity(payload.len());
    let mut bytes = payload.iter().copied();
    let hex = |b: Option<u8>| {
        let digit = b.and_then(|b| char::from(b).to_digit(16));
        digit.and_then(|d| u8::try_from(d).ok())
    };
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => match (hex(bytes.next()), hex(bytes.next())) {
                (Some(high), Some(low)) => out.push(high << 4 | low),
                _ => return Err(Malformed("its form is cut off or wrong".to_owned())),
            },
            other => out.push(other),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_no_commit_and_other_texts_neither() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(commit(hash), Ok(Some(CommitId(hash.to_owned()))));
        assert_eq!(
            commit(&hash.to_uppercase()),
            Ok(Some(CommitId(hash.to_owned())))
        );
        assert_eq!(commit(&"0".repeat(40)), Ok(None));
        assert_eq!(commit(&"0".repeat(64)), Ok(None));
        for wrong in ["", "abc", &"g".repeat(40), &"a".repeat(41), &"é".repeat(20)] {
            assert!(commit(wrong).is_err(), "{wrong}");
        }
        assert_eq!(optional_commit(Some("")), Ok(None));
    }

    #[test]
    fn texts_are_one_bounded_line() {
        assert_eq!(title(" a\n\u{1b}[31mb "), "a  [31mb");
        assert_eq!(title(&"🚢".repeat(300)).chars().count(), 200);
        assert!(name("a\nb").is_err() && name("").is_err() && name(&"x".repeat(2000)).is_err());
        assert_eq!(name("feature/ö"), Ok("feature/ö".to_owned()));
    }

    #[test]
    fn a_form_is_decoded() {
        let body = b"a=b&payload=%7B%22a%22%3A+1%7d&payload=x";
        assert_eq!(form_payload(body), Ok(b"{\"a\": 1}".to_vec()));
        for wrong in [
            &b""[..],
            b"x=1",
            b"payload=%",
            b"payload=%4",
            b"payload=%zz",
        ] {
            assert!(form_payload(wrong).is_err());
        }
    }
}
