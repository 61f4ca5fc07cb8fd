//! The secret of a source's webhook, as its file has it now: it can be changed without a
//! restart. Never told, not even its length.

use std::io::Read as _;
use std::time::Duration;

use super::Followed;
use crate::forge::hook::Forged;

/// Largest secret that is read, in bytes.
const MAX_BYTES: u64 = 4096;
/// A file system may hang; a delivery does not wait for it.
const DEADLINE: Duration = Duration::from_secs(2);

fn unset(followed: &Followed, what: &str) -> Forged {
    let name = &followed.name;
    Forged {
        why: format!("source {name} has no usable webhook secret: {what}"),
        hint: format!(
            "write a secret into a file on the controller's host, then: \
             evenkeel source add {name} URL --replace --webhook-secret-file FILE"
        ),
    }
}

/// Where the secret is.
pub fn file(followed: &Followed) -> Result<String, Forged> {
    let file = followed.secret_file.clone();
    file.ok_or_else(|| unset(followed, "none is set"))
}

/// The secret, without the white space around it; never empty.
pub async fn read(followed: &Followed, file: String) -> Result<Vec<u8>, Forged> {
    let path = file.clone();
    let reading = tokio::task::spawn_blocking(move || read_file(&path));
    let read = match tokio::time::timeout(DEADLINE, reading).await {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    };
    let content = read.map_err(|error| {
        // The path is the operator's business, not the sender's.
        tracing::debug!(source = %followed.name, %file, %error, "the webhook's secret cannot be read");
        unset(followed, "its file cannot be read")
    })?;
    let secret = content.trim_ascii();
    if secret.is_empty() {
        return Err(unset(followed, "its file is empty"));
    }
    Ok(secret.to_vec())
}

fn read_file(path: &str) -> std::io::Result<Vec<u8>> {
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    let mut content = Vec::new();
    std::fs::File::open(path)?
        .take(MAX_BYTES)
        .read_to_end(&mut content)?;
    Ok(content)
}
