//! Ports of the node for processes, which have no network of their own.
//!
//! A dynamic port stays with its instance over restarts, and is exchanged only
//! when something else has taken it. The range lies below the kernel's
//! ephemeral ports, so that no outgoing connection can sit on one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use tokio::process::{Child, Command};

use crate::model::InstanceId;
use crate::model::spec::Protocol;

use super::layout::LaunchPort;

/// Where dynamic ports come from.
pub const RANGE: Range<u16> = 20_000..32_000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("port {port}/{} of this node is taken, which \"{name}\" asks for with hostPort", protocol_name(*.protocol))]
    Taken {
        name: String,
        port: u16,
        protocol: Protocol,
    },
    #[error("no port between {} and {} is free for \"{name}\"", RANGE.start, RANGE.end - 1)]
    Exhausted { name: String },
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// Ports for one start: fixed ones as asked for, `held` ones again where they
/// are still free, else new ones that are neither taken nor in `reserved`.
pub fn assign(
    id: InstanceId,
    wanted: &[LaunchPort],
    held: &BTreeMap<String, u16>,
    reserved: &BTreeSet<u16>,
    is_free: &dyn Fn(u16, Protocol) -> bool,
) -> Result<BTreeMap<String, u16>, Error> {
    let mut ports = BTreeMap::new();
    let mut used = reserved.clone();
    used.extend(wanted.iter().filter_map(|w| w.fixed));
    for want in wanted {
        let port = match want.fixed {
            Some(port) if is_free(port, want.protocol) => port,
            Some(port) => {
                return Err(Error::Taken {
                    name: want.name.clone(),
                    port,
                    protocol: want.protocol,
                });
            }
            None => {
                let kept = held.get(&want.name).copied();
                kept.into_iter()
                    .chain(candidates(id))
                    .find(|port| !used.contains(port) && is_free(*port, want.protocol))
                    .ok_or_else(|| Error::Exhausted {
                        name: want.name.clone(),
                    })?
            }
        };
        used.insert(port);
        ports.insert(want.name.clone(), port);
    }
    Ok(ports)
}

/// The whole range, from a place that differs per instance: two agents on one
/// host do not reach for the same port at the same moment.
fn candidates(id: InstanceId) -> impl Iterator<Item = u16> {
    let bytes = id.0.as_bytes();
    let seed = bytes.chunks(2).fold(0u32, |seed, pair| {
        seed.wrapping_mul(31)
            .wrapping_add(pair.iter().fold(0, |n, b| (n << 8) | u32::from(*b)))
    });
    let length = u32::from(RANGE.end - RANGE.start);
    (0..length).map(move |n| {
        // Below `length`, which fits.
        let offset = (seed % length + n) % length;
        RANGE.start + u16::try_from(offset).unwrap_or(0)
    })
}

/// Held to write while a port is tried, to read while a child is started: until a child has
/// become another program it shares what is open here, and a port that was only tried would be
/// taken for as long, for the next look as for the program that is to have it.
static STARTS: RwLock<()> = RwLock::new(());

/// Starts what is no part of any look at a port.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    // Returns once the child is its own program, or never will be.
    let _started = STARTS.read().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// Whether nobody listens on it, on any address.
pub fn is_free(port: u16, protocol: Protocol) -> bool {
    let _tried = STARTS.write().unwrap_or_else(PoisonError::into_inner);
    let bind = |address: SocketAddr| -> io::Result<()> {
        match protocol {
            Protocol::Tcp => TcpListener::bind(address).map(drop),
            Protocol::Udp => UdpSocket::bind(address).map(drop),
        }
    };
    // The wildcard of version 6 covers version 4 too, where version 6 is there.
    match bind((Ipv6Addr::UNSPECIFIED, port).into()) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => false,
        Err(_) => bind((Ipv4Addr::UNSPECIFIED, port).into()).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn want(name: &str, fixed: Option<u16>) -> LaunchPort {
        LaunchPort {
            name: name.to_owned(),
            fixed,
            protocol: Protocol::Tcp,
        }
    }
    const ID: InstanceId = InstanceId(Uuid::from_u128(7));

    #[test]
    fn a_dynamic_port_is_kept_while_it_is_free() {
        let wanted = [want("http", None), want("admin", None)];
        let none = BTreeMap::new();
        let first = assign(ID, &wanted, &none, &BTreeSet::new(), &|_, _| true).unwrap();
        assert_ne!(first["http"], first["admin"]);
        assert!(first.values().all(|p| RANGE.contains(p)));
        let held = BTreeMap::from([("http".to_owned(), 31_999)]);
        let again = assign(ID, &wanted, &held, &BTreeSet::new(), &|_, _| true).unwrap();
        assert_eq!(again["http"], 31_999);
        let moved = assign(ID, &wanted, &held, &BTreeSet::new(), &|p, _| p != 31_999).unwrap();
        assert_ne!(moved["http"], 31_999);
    }

    #[test]
    fn ports_of_other_instances_are_left_alone() {
        let all_but_one = RANGE.filter(|p| *p != 25_000).collect();
        let wanted = [want("http", None)];
        let ports = assign(ID, &wanted, &BTreeMap::new(), &all_but_one, &|_, _| true).unwrap();
        assert_eq!(ports["http"], 25_000);
        let error = assign(ID, &wanted, &BTreeMap::new(), &all_but_one, &|_, _| false);
        assert!(matches!(error, Err(Error::Exhausted { .. })));
    }

    #[test]
    fn a_fixed_port_that_is_taken_is_told() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let wanted = [want("http", Some(port))];
        let error = assign(ID, &wanted, &BTreeMap::new(), &BTreeSet::new(), &is_free).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("port {port}/tcp of this node is taken, which \"http\" asks for with hostPort")
        );
        drop(taken);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_started_meanwhile_takes_no_port_along() {
        let over = std::sync::atomic::AtomicBool::new(false);
        let over = std::sync::Arc::new(over);
        let starting = (0..4).map(|_| {
            let over = std::sync::Arc::clone(&over);
            tokio::spawn(async move {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let mut child = spawn(&mut Command::new("/bin/true")).unwrap();
                    child.wait().await.unwrap();
                }
            })
        });
        let starting: Vec<_> = starting.collect();
        // Below those that anybody is given.
        let port = (12_000..20_000).find(|port| is_free(*port, Protocol::Tcp));
        let port = port.unwrap();
        let looks = tokio::task::spawn_blocking(move || {
            (0..300).filter(|_| is_free(port, Protocol::Tcp)).count()
        });
        assert_eq!(looks.await.unwrap(), 300);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        for each in starting {
            each.await.unwrap();
        }
    }
}
