//! What the process before this one held, and may hold for a moment after its end: a child that
//! it was just starting shares its open files until it has become another program. A lock and a
//! listening port so outlive a killed process, on a busy machine for a good part of a second.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::config::{DataDir, Error, RoleLock};

/// Who holds it for longer lives.
const LET_GO: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Errors: as [`DataDir::lock`], where another process runs in the role.
pub async fn lock(dir: &DataDir, role: &str) -> Result<RoleLock, Error> {
    let in_use = |error: &Error| matches!(error, Error::InUse { .. });
    when_let_go(async || dir.lock(role), in_use).await
}

/// Errors: the address is in use, or none of this machine.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let in_use = |error: &std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
    let listener = when_let_go(async || TcpListener::bind(address).await, in_use).await;
    listener.with_context(|| {
        format!(
            "cannot listen on {address}; choose another address with --listen, or stop what uses it"
        )
    })
}

async fn when_let_go<T, E: std::fmt::Display>(
    take: impl AsyncFn() -> Result<T, E>,
    held: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        match take().await {
            Err(error) if held(&error) && begun.elapsed() < LET_GO => {
                if !told {
                    tracing::info!(%error, "waiting a moment for what a dead process may still hold");
                    told = true;
                }
                tokio::time::sleep(LOOK).await;
            }
            taken => return taken,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::process::{Command, Stdio};

    use super::*;

    /// A child that shares a file for a while, as every child does before it is its own program.
    fn child_with(file: OwnedFd) -> std::process::Child {
        let mut command = Command::new("sleep");
        command.arg("0.3").stdin(Stdio::from(file)).spawn().unwrap()
    }

    #[tokio::test]
    async fn what_a_dead_process_held_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(Some(folder.path())).unwrap();
        let dead = dir.lock("controller").unwrap();
        let mut child = child_with(dead.left_to_a_child());
        dir.lock("controller").unwrap_err();
        lock(&dir, "controller").await.unwrap();
        child.wait().unwrap();

        let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = dead.local_addr().unwrap();
        let mut child = child_with(dead.try_clone().unwrap().into());
        drop(dead);
        TcpListener::bind(address).await.unwrap_err();
        listen(address).await.unwrap();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn what_a_living_process_holds_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(Some(folder.path())).unwrap();
        let _lives = dir.lock("agent").unwrap();
        let lives = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = lives.local_addr().unwrap();
        let (locked, listening) = tokio::join!(lock(&dir, "agent"), listen(address));
        let refused = locked.unwrap_err();
        assert!(matches!(refused, Error::InUse { .. }), "{refused}");
        let refused = listening.unwrap_err().to_string();
        assert!(refused.contains("--listen"), "{refused}");
    }
}
