//! Names made from what the host is called.

use crate::model::NodeName;

/// This host's name as a node's name: its first label, without what a name may not hold.
/// `None` if nothing of it can stay.
pub fn node_name() -> Option<NodeName> {
    let host = nix::unistd::gethostname().ok()?.into_string().ok()?;
    let text = label(host.split('.').next().unwrap_or_default())?;
    NodeName::new(text).ok()
}

/// The text as a DNS label; `None` if nothing of it can stay.
pub(super) fn label(text: &str) -> Option<String> {
    let mut label = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            label.push(c.to_ascii_lowercase());
        } else if !label.ends_with('-') && !label.is_empty() {
            label.push('-');
        }
    }
    label.truncate(63);
    let label = label.trim_end_matches('-');
    (!label.is_empty()).then(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::label;

    #[test]
    fn any_text_becomes_a_label_or_nothing() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(label(text).as_deref(), expected, "{text}");
        };
        check("Web_Shop.git", Some("web-shop-git"));
        check("--a--", Some("a"));
        check("___", None);
        check(&"x".repeat(80), Some(&"x".repeat(63)));
    }
}
