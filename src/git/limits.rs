//! Every bound on what a repository may make us do, with its unit and reason.

use std::time::Duration;

/// Characters of an author's name or a subject that are kept: they go to events and terminals.
pub const INFO_CHARS: usize = 200;

/// Entries that one comparison may visit. A spec repository of 10,000 apps has some 30,000.
pub const TREE_ENTRIES: usize = 200_000;

/// Folders inside folders. Deeper trees are made, not written.
pub const TREE_DEPTH: usize = 64;

/// Bytes of one tree object; 100,000 names in one folder take about 5 MB.
pub const TREE_BYTES: usize = 16 << 20;

/// Bytes that one fetch may receive. Large monorepos with history stay below.
pub const PACK_BYTES: usize = 4 << 30;

/// Bytes that one fetch of a pull request may receive: anybody may open one.
pub const PULL_PACK_BYTES: usize = 256 << 20;

/// Bytes of an object that is made from another one's difference: a few bytes may ask for any
/// size, and all of it is held in memory. What is larger has no place beside specs.
pub const OBJECT_BYTES: usize = 512 << 20;

/// Bytes of a file that is merged line by line; specs are smaller (`manifest::limits`).
pub const BLENDED_BYTES: u64 = 1 << 20;

/// Bytes of a token file: the longest tokens in use have some 2 KB.
pub const TOKEN_BYTES: u64 = 16 << 10;

/// Bytes of a known_hosts file.
pub const KNOWN_HOSTS_BYTES: u64 = 4 << 20;

/// Redirects on the same host before giving up.
pub const REDIRECTS: usize = 5;

/// To open a connection, whatever the fetch's deadline: what does not answer by then is down.
pub const CONNECT: Duration = Duration::from_secs(10);

/// Bytes of the answer to `info/refs`: about 400,000 refs.
pub const REFS_BYTES: usize = 32 << 20;

/// Packs in a mirror before they are made one. Looking an object up asks them one by one.
pub const PACKS: usize = 50;

/// To pack one mirror; a larger one stays as it is.
pub const REPACK: Duration = Duration::from_secs(60);
