//! The library's process-wide settings, made once before anything else uses it.

use std::sync::Once;

use git2::{ConfigLevel, opts};

use super::{limits, transport};

/// Does nothing after the first call.
pub(super) fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(settings);
}

/// None of these can fail but for lack of memory; what was not set keeps its stricter default.
#[expect(
    unsafe_code,
    reason = "the library's globals: set under a Once, before its first use by any thread"
)]
fn settings() {
    // No `url.insteadOf`, credential helper or proxy of whoever started us may
    // redirect a fetch.
    for level in [
        ConfigLevel::ProgramData,
        ConfigLevel::System,
        ConfigLevel::XDG,
        ConfigLevel::Global,
    ] {
        let _ = unsafe { opts::set_search_path(level, "") };
    }
    // Only our mirrors and paths that an operator configured are ever opened;
    // those may belong to another user (a developer's clone, a forge's storage).
    let _ = unsafe { opts::set_verify_owner_validation(false) };
    let bound = libgit2_sys::GIT_OPT_SET_PACK_MAX_OBJECT_SIZE as std::ffi::c_int;
    unsafe { libgit2_sys::git_libgit2_opts(bound, limits::OBJECT_BYTES) };
    unsafe { transport::register() };
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// zlib without compression.
    fn stored(bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0x78, 0x01];
        let mut blocks = bytes.chunks(0xffff).peekable();
        while let Some(block) = blocks.next() {
            let size = block.len() as u16;
            out.push(u8::from(blocks.peek().is_none()));
            out.extend(size.to_le_bytes());
            out.extend((!size).to_le_bytes());
            out.extend(block);
        }
        let (a, b) = bytes.iter().fold((1u32, 0u32), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65521;
            (a, (a + b) % 65521)
        });
        out.extend((b << 16 | a).to_be_bytes());
        out
    }

    /// Seven bits each, the lowest first.
    fn number(mut n: usize) -> Vec<u8> {
        let mut out = Vec::new();
        loop {
            let more = if n > 0x7f { 0x80 } else { 0 };
            out.push((n & 0x7f) as u8 | more);
            n >>= 7;
            if n == 0 {
                return out;
            }
        }
    }

    fn object(kind: u8, size: usize) -> Vec<u8> {
        let mut out = vec![kind << 4 | (size & 0xf) as u8];
        if size > 0xf {
            out[0] |= 0x80;
            out.extend(number(size >> 4));
        }
        out
    }

    /// A blob of zeros, and one that is the first one so many times.
    fn pack(times: usize) -> Vec<u8> {
        let base = vec![0; 0xffff];
        let copies = [0x80 | 0x10 | 0x20, 0xff, 0xff].repeat(times);
        let delta = [number(base.len()), number(base.len() * times), copies].concat();
        let id = git2::Oid::hash_object(git2::ObjectType::Blob, &base).unwrap();
        let mut pack = [&b"PACK"[..], &2u32.to_be_bytes(), &2u32.to_be_bytes()].concat();
        pack.extend([object(3, base.len()), stored(&base)].concat());
        pack.extend(
            [
                object(7, delta.len()),
                id.as_bytes().to_vec(),
                stored(&delta),
            ]
            .concat(),
        );
        let sum = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &pack);
        pack.extend(sum.as_ref());
        pack
    }

    #[test]
    fn a_small_pack_cannot_ask_for_much_memory() {
        prepare();
        let dir = tempfile::tempdir().unwrap();
        let repository = git2::Repository::init_bare(dir.path()).unwrap();
        let take = |times| {
            let odb = repository.odb()?;
            let mut writer = odb.packwriter()?;
            writer.write_all(&pack(times)).unwrap();
            writer.commit().map(drop)
        };
        take(3).unwrap();
        let error: git2::Error = take(limits::OBJECT_BYTES / 0xffff + 1).unwrap_err();
        assert!(error.message().contains("overly large"), "{error}");
    }
}
