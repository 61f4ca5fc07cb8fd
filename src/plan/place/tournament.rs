//! The least of many numbers, while single ones change: a tournament's table.

/// Stands for nothing: larger than every key.
pub(super) const NONE: u128 = u128::MAX;

/// A full binary tree in an array: the leaves are the keys, each inner place holds the
/// lesser of its two below. A change costs the logarithm of the number of keys.
#[derive(Clone, Debug)]
pub(super) struct Tournament {
    /// Leaves, a power of two.
    leaves: usize,
    /// Root at 1, leaves from `leaves` on.
    table: Vec<u128>,
}

impl Tournament {
    pub fn new(keys: impl ExactSizeIterator<Item = u128>) -> Tournament {
        let leaves = keys.len().max(1).next_power_of_two();
        let mut table = vec![NONE; 2 * leaves];
        for (place, key) in table[leaves..].iter_mut().zip(keys) {
            *place = key;
        }
        for inner in (1..leaves).rev() {
            table[inner] = table[2 * inner].min(table[2 * inner + 1]);
        }
        Tournament { leaves, table }
    }

    pub fn least(&self) -> u128 {
        self.table[1]
    }

    /// Whether the least one may be another now.
    pub fn set(&mut self, leaf: usize, key: u128) -> bool {
        let mut at = self.leaves + leaf;
        if self.table[at] == key {
            return false;
        }
        self.table[at] = key;
        while at > 1 {
            at /= 2;
            let least = self.table[2 * at].min(self.table[2 * at + 1]);
            if self.table[at] == least {
                return false;
            }
            self.table[at] = least;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_known_after_each_change() {
        for size in [1, 2, 3, 7, 8, 9] {
            let mut keys: Vec<u128> = (0..size).map(|n| 100 + n).collect();
            let mut tournament = Tournament::new(keys.iter().copied());
            for step in 0..200u128 {
                let leaf = (step * 7 % size) as usize;
                keys[leaf] = if step % 5 == 0 { NONE } else { step * 37 % 101 };
                tournament.set(leaf, keys[leaf]);
                assert_eq!(tournament.least(), *keys.iter().min().unwrap());
            }
        }
    }
}
