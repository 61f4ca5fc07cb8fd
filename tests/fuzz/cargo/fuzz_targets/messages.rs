#![no_main]
#![allow(dead_code, clippy::unwrap_used, reason = "a finding is a panic")]

#[path = "../../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::messages(data));
