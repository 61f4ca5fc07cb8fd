//! Commands inside instances: the frames of their answer.

use std::time::Duration;

use reqwest::{Method, Response};

use crate::api::{ExecFrame, ExecInput};
use crate::model::AppKey;

use super::agent::Lines;
use super::calls::app_path;
use super::{Client, Error};

/// From the request to the head of its answer.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);

impl Client {
    /// Runs a command inside an instance. `silence`: the longest time without output; the
    /// server ends a command that outlives its own. Dropping the stream ends the command.
    pub async fn exec(
        &self,
        app: &AppKey,
        input: &ExecInput,
        silence: Duration,
    ) -> Result<ExecStream, Error> {
        let request = self
            .request(Method::POST, &app_path(app, &["exec"]))
            .json(input);
        let response = tokio::time::timeout(OPEN_DEADLINE, self.answer(request))
            .await
            .map_err(|_| self.too_slow())??;
        Ok(ExecStream {
            client: self.clone(),
            response,
            lines: Lines::default(),
            silence,
        })
    }

    fn too_slow(&self) -> Error {
        Error::Timeout {
            url: self.url().to_owned(),
        }
    }
}

/// What a command says, and how it ended.
pub struct ExecStream {
    client: Client,
    response: Response,
    lines: Lines,
    silence: Duration,
}

impl ExecStream {
    /// The next frame; `None`: the answer broke off, or its last frame was told.
    pub async fn next(&mut self) -> Result<Option<ExecFrame>, Error> {
        loop {
            if let Some(line) = self.lines.pop() {
                return serde_json::from_slice(&line)
                    .map(Some)
                    .map_err(|e| self.client.protocol(format!("a frame of a command: {e}")));
            }
            let chunk = tokio::time::timeout(self.silence, self.response.chunk())
                .await
                .map_err(|_| self.client.too_slow())?
                .map_err(|e| self.client.failed(e))?;
            let Some(chunk) = chunk else { return Ok(None) };
            if !self.lines.push(&chunk) {
                return Err(self.client.protocol("a frame without end".to_owned()));
            }
        }
    }
}
