//! TCP probes: whether something accepts a connection.

use tokio::net::TcpStream;

use super::{Answer, cause};

pub(super) async fn ask(address: &str) -> Answer {
    match TcpStream::connect(address).await {
        Ok(_) => Answer::Passed(format!("tcp {address}: accepted")),
        Err(error) => Answer::Failed(format!("tcp {address}: {}", cause(&error))),
    }
}
