//! Ports for servers that cannot choose one themselves.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below those that agents give to instances (from 20,000 on), and below those that the system
/// gives to whoever asks for any: nobody is given it while nothing listens there.
const FIRST: u16 = 12_000;
const COUNT: u16 = 8_000;

/// A port of this machine on which nobody listens, and which nobody else gets from here.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let turn = TAKEN.fetch_add(1, Ordering::Relaxed);
        // Test programs that run side by side begin at different places.
        let place = (std::process::id().wrapping_mul(97).wrapping_add(turn)) % u32::from(COUNT);
        let port = FIRST + u16::try_from(place).unwrap();
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}
