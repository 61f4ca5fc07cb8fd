//! Our own transports under libgit2's smart protocol.
//!
//! Its built-in ones take their timeouts from globals, follow redirects to
//! another port of the same host with the credentials of the first, and pick
//! host keys by the known_hosts file of whoever runs the process. Registered
//! under schemes of their own, so plain `http://` of libgit2 stays as it was.

mod http;
mod known_hosts;
pub(super) mod local;
mod ssh;

use std::io;
use std::sync::Arc;

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};

use super::Error;
use super::attempt::{Attempt, GAVE_UP};
use super::location::Location;

const HTTP: &str = "evenkeel-http";
const SSH: &str = "evenkeel-ssh";

/// Branches that an error lists as alternatives.
pub(super) const BRANCHES_SHOWN: usize = 10;

/// What libgit2 is told instead of the url: the transports take it from the attempt.
pub(super) fn url_for_libgit2(location: &Location) -> String {
    match location {
        Location::Http { .. } => format!("{HTTP}://attempt/repository"),
        Location::Ssh { .. } => format!("{SSH}://attempt/repository"),
        Location::Local(path) => path.display().to_string(),
    }
}

/// # Safety
/// Before any other thread uses libgit2's transports.
#[expect(unsafe_code, reason = "see above")]
pub(super) unsafe fn register() {
    // Fails only when registered already or out of memory; a fetch then says
    // that the scheme is unknown.
    let _ = unsafe {
        git2::transport::register(HTTP, |remote| {
            Transport::smart(remote, true, http::Http::new(current()?))
        })
    };
    let _ = unsafe {
        git2::transport::register(SSH, |remote| {
            Transport::smart(remote, false, ssh::Ssh::new(current()?))
        })
    };
}

fn current() -> Result<Arc<Attempt>, git2::Error> {
    Attempt::current().ok_or_else(|| git2::Error::from_str("no fetch runs on this thread"))
}

/// Notes the failure in the attempt and makes libgit2 give up.
fn give_up(attempt: &Attempt, error: Error) -> io::Error {
    attempt.fail(error);
    io::Error::other(GAVE_UP)
}

fn give_up_git(attempt: &Attempt, error: Error) -> git2::Error {
    attempt.fail(error);
    git2::Error::from_str(GAVE_UP)
}

type Stream = Box<dyn SmartSubtransportStream>;

fn only_fetch(service: Service) -> Result<(), git2::Error> {
    match service {
        Service::UploadPackLs | Service::UploadPack => Ok(()),
        Service::ReceivePackLs | Service::ReceivePack => {
            Err(git2::Error::from_str("this program never pushes"))
        }
    }
}
