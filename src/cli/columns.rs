//! Columns of a terminal: letters of East Asia and pictures take two, accents none.

use unicode_width::UnicodeWidthChar as _;

fn of(letter: char) -> usize {
    letter.width().unwrap_or(0)
}

pub fn count(text: &str) -> usize {
    text.chars().map(of).sum()
}

/// As much of the beginning as goes into `room` columns.
pub fn head(text: &str, room: usize) -> &str {
    let mut taken = 0;
    let over = text.char_indices().find(|(_, letter)| {
        taken += of(*letter);
        taken > room
    });
    over.map_or(text, |(end, _)| &text[..end])
}

/// As much of the end as goes into `room` columns.
pub fn tail(text: &str, room: usize) -> &str {
    let mut taken = 0;
    let over = text.char_indices().rev().find(|(_, letter)| {
        taken += of(*letter);
        taken > room
    });
    over.map_or(text, |(last, letter)| &text[last + letter.len_utf8()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_letters_take_two_and_accents_none() {
        assert_eq!(count("配置 e\u{301}🚢"), 4 + 1 + 1 + 2);
        assert_eq!((head("配置x", 3), tail("配置x", 2)), ("配", "x"));
        assert_eq!((head("配置x", 4), tail("配置x", 3)), ("配置", "置x"));
        assert_eq!(head("e\u{301}x", 1), "e\u{301}");
        assert_eq!((head("配", 1), tail("配", 1), head("x", 9)), ("", "", "x"));
    }
}
