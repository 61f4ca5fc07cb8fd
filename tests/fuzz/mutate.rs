//! Small, blind changes, with words that parsers stumble over. All of it follows from a seed.

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Less than `bound`; 0 where that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

const WORDS: [&[u8]; 44] = [
    b"&a ",
    b"*a",
    b"<<: *a\n",
    b"---\n",
    b"...\n",
    b"!!binary ",
    b"!!str ",
    b"!<x> ",
    b"? ",
    b": ",
    b"- ",
    b"|\n",
    b">-\n",
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"",
    b"'",
    b"\\u0000",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\t",
    b"\r\n",
    b"#",
    b"%YAML 1.2\n",
    b"null",
    b"~",
    b"true",
    b"yes",
    b"-0",
    b"1e309",
    b".nan",
    b"99999999999999999999",
    b"0x7fffffffffffffff",
    b"-1",
    b"100000000000000000000h",
    b"1e18Gi",
    b"..",
    b"/",
    b".git",
    "e\u{301}\u{200c}".as_bytes(),
    "\u{1f600}\u{202e}".as_bytes(),
];

/// One change.
pub fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    match random.below(9) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.next() as u8,
        2 => input.insert(at, random.next() as u8),
        3 => {
            let end = (at + random.below(32)).min(input.len());
            input.drain(at..end);
        }
        4 => {
            // A piece once more, or many times.
            let end = (at + 1 + random.below(64)).min(input.len());
            let piece: Vec<u8> = input[at..end].to_vec();
            let times = if random.below(20) == 0 { 200 } else { 1 };
            let more = piece.repeat(times);
            input.splice(end..end, more);
        }
        5 => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len() + 1);
            let end = (from + random.below(256)).min(other.len());
            input.splice(at..at, other[from..end].iter().copied());
        }
        6 => {
            // Another number in the place of one.
            let start = input
                .iter()
                .skip(at)
                .position(u8::is_ascii_digit)
                .map(|n| n + at);
            if let Some(start) = start {
                let end = input[start..].iter().position(|b| !b.is_ascii_digit());
                let end = end.map_or(input.len(), |n| n + start);
                let number = match random.below(4) {
                    0 => u64::MAX.to_string(),
                    1 => "0".to_owned(),
                    2 => format!("{}", random.next() % 1000),
                    _ => format!("{}", random.next()),
                };
                input.splice(start..end, number.into_bytes());
            }
        }
        _ => {
            let word = WORDS[random.below(WORDS.len())];
            input.splice(at..at, word.iter().copied());
        }
    }
}
