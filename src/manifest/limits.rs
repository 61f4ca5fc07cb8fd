//! Every bound on what a repository may make us read, with its unit and reason.
//!
//! Repositories are hostile input. Each bound is far above what people write and far
//! below what would hurt; hitting one is a problem that says the bound.

/// Bytes of one spec file. Hand-written specs are a few KiB.
pub const SPEC_FILE_BYTES: u64 = 1 << 20;

/// Documents in one spec file.
pub const DOCUMENTS_PER_FILE: usize = 1000;

/// Levels of nesting, also through aliases. The deepest valid spec has about eight.
pub const DEPTH: usize = 32;

/// Nodes (scalars, lists, mappings) of one file after aliases are expanded: what
/// turns a kilobyte into gigabytes is the expansion.
pub const NODES_PER_FILE: usize = 200_000;

/// Spec files in one source's tree. Ten thousand apps are expected.
pub const SPEC_FILES: usize = 50_000;

/// Bytes of one file that a spec names in `files`. They travel inside the spec to
/// every node, so they are for configuration, not for data.
pub const REFERENCED_FILE_BYTES: u64 = 256 << 10;

/// Bytes of all `files` of one app together.
pub const REFERENCED_BYTES_PER_APP: u64 = 1 << 20;

/// Entries in `files` of one app.
pub const FILES_PER_APP: usize = 100;

/// Problems kept of one file. The next ones are counted in one last problem.
pub const PROBLEMS_PER_FILE: usize = 50;

/// Problems kept of one source's tree, ordered by path.
pub const PROBLEMS: usize = 2000;

/// Characters of offending text kept in a problem.
pub const PROBLEM_TEXT: usize = 120;

/// Instances of one app.
pub const REPLICAS: u32 = 10_000;

/// Bytes of a regular expression after compilation; matching itself is linear.
pub const REGEX_BYTES: usize = 256 << 10;
