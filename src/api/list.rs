//! Lists, one bounded page at a time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Items of a page when the caller names no limit.
pub const DEFAULT_LIMIT: usize = 100;
/// Most items of a page, whatever the caller asks for.
pub const MAX_LIMIT: usize = 1000;

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "{T}Page")]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Pass it as `after` for the next page; `null`: this is the last one.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The same page of something else.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(f).collect(),
            next: self.next,
        }
    }

    /// The same page of something else; the first error instead.
    pub fn try_map<U, E>(self, f: impl FnMut(T) -> Result<U, E>) -> Result<Page<U>, E> {
        Ok(Page {
            items: self.items.into_iter().map(f).collect::<Result<_, E>>()?,
            next: self.next,
        })
    }

    /// At most `limit` of `items`; the page's `next` is the key of its last item if more follow.
    pub fn cut(
        items: impl Iterator<Item = T>,
        limit: usize,
        key: impl Fn(&T) -> String,
    ) -> Page<T> {
        let mut items: Vec<T> = items.take(limit + 1).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(key);
        Page { items, next }
    }
}

/// The page size to use for what was asked.
pub fn bounded(limit: Option<usize>) -> usize {
    limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_where_the_next_one_starts() {
        let page = Page::cut(1..=5, 2, ToString::to_string);
        assert_eq!((page.items, page.next.as_deref()), (vec![1, 2], Some("2")));
        let page = Page::cut(4..=5, 2, ToString::to_string);
        assert_eq!((page.items, page.next), (vec![4, 5], None));
    }

    #[test]
    fn a_limit_is_bounded_both_ways() {
        assert_eq!(bounded(None), DEFAULT_LIMIT);
        assert_eq!(bounded(Some(0)), 1);
        assert_eq!(bounded(Some(usize::MAX)), MAX_LIMIT);
    }
}
