//! Which deliveries came before. Bounded: the oldest is forgotten, and would then cost one
//! sync more.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::forge::hook::Envelope;
use crate::model::SourceName;

/// Deliveries remembered, of all sources: about half a megabyte.
const MOST: usize = 8192;

/// What makes a delivery the same: all of it. GitLab gives what one push caused one number,
/// and some vendors give none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    pub fn new(source: &SourceName, envelope: &Envelope, body: &[u8]) -> Key {
        let mut digest = Sha256::new();
        let id = envelope.id.as_deref().unwrap_or_default();
        for part in [
            source.as_str(),
            envelope.vendor.as_str(),
            &envelope.event,
            id,
        ] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part.as_bytes());
        }
        digest.update(body);
        Key(digest.finalize().into())
    }
}

#[derive(Default)]
pub struct Seen(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    known: HashSet<Key>,
    /// Oldest first; may name some that were removed.
    order: VecDeque<Key>,
}

impl Seen {
    /// Whether it is new.
    pub fn insert(&self, key: Key) -> bool {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !memory.known.insert(key) {
            return false;
        }
        memory.order.push_back(key);
        if memory.order.len() > MOST
            && let Some(oldest) = memory.order.pop_front()
        {
            memory.known.remove(&oldest);
        }
        true
    }

    pub fn remove(&self, key: &Key) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.known.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn key(source: &str, headers: &[(&str, &str)], body: &[u8]) -> Key {
        let headers: BTreeMap<String, String> = headers
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Key::new(&source.parse().unwrap(), &Envelope::of(&headers).0, body)
    }

    #[test]
    fn the_same_is_known_and_anything_else_is_not() {
        let push = [("x-github-event", "push"), ("x-github-delivery", "1")];
        let seen = Seen::default();
        assert!(seen.insert(key("a", &push, b"x")));
        assert!(!seen.insert(key("a", &push, b"x")));
        for other in [
            key("b", &push, b"x"),
            key("a", &push, b"y"),
            key("a", &[push[0], ("x-github-delivery", "2")], b"x"),
            key("a", &[("x-github-event", "create"), push[1]], b"x"),
            key(
                "a",
                &[("x-gitea-event", "push"), ("x-gitea-delivery", "1")],
                b"x",
            ),
            key("a", &[], b"x"),
        ] {
            assert!(seen.insert(other));
            assert!(!seen.insert(other));
        }
        seen.remove(&key("a", &push, b"x"));
        assert!(seen.insert(key("a", &push, b"x")));
    }

    #[test]
    fn memory_is_bounded() {
        let seen = Seen::default();
        let nth = |n: usize| key("a", &[], n.to_string().as_bytes());
        for n in 0..3 * MOST {
            assert!(seen.insert(nth(n)));
            if n % 5 == 0 {
                seen.remove(&nth(n));
            }
        }
        let memory = seen.0.lock().unwrap();
        assert!(memory.known.len() <= MOST && memory.order.len() <= MOST);
        drop(memory);
        assert!(!seen.insert(nth(3 * MOST - 2)), "a late one is known");
    }
}
