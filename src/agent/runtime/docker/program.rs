//! Does the program exist that a spec wants to run?
//!
//! The Engine would refuse to start a program that is not there, but what it
//! starts is its init process, which is always there and exits with 127 once it
//! has looked for ours. So that such a release is condemned at once and not after
//! all its start attempts, the program is looked for in the created container:
//! once per image and program, as a look costs as much as a create.
//!
//! Only programs named by an absolute path are looked for. One that is found on
//! PATH, or comes from the image's own entrypoint, shows by its exits.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use bollard::query_parameters::ContainerArchiveInfoOptionsBuilder;

use super::Inner;
use super::engine::CALL_DEADLINE;
use super::error;
use crate::agent::runtime::Error;
use crate::model::spec::Task;
use crate::model::{DesiredInstance, FailureKind};

/// How many (image, program) pairs are remembered before all are forgotten.
const REMEMBERED: usize = 1024;

/// What the kernel provides is not in a container before it runs.
const RUNTIME_FOLDERS: &[&str] = &["/proc/", "/sys/", "/dev/"];

/// Programs that were found in their images.
#[derive(Default)]
pub(super) struct Seen(Mutex<BTreeSet<(String, String)>>);

impl Seen {
    fn has(&self, pair: &(String, String)) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.contains(pair)
    }
    fn add(&self, pair: (String, String)) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        seen.insert(pair);
    }
}

impl Inner {
    /// `Rejected`, and the container is gone, if the program is certainly missing.
    /// Whatever keeps us from looking is no reason to refuse.
    pub(super) async fn check_program(
        &self,
        instance: &DesiredInstance,
        container: &str,
    ) -> Result<(), Error> {
        let run = &instance.run;
        let Task::Image {
            image,
            command: Some(command),
            ..
        } = &run.workload.task
        else {
            return Ok(());
        };
        let Some(program) = command.first().filter(|p| p.starts_with('/')) else {
            return Ok(());
        };
        if RUNTIME_FOLDERS.iter().any(|f| program.starts_with(f)) {
            return Ok(());
        }
        let image = run.image.as_ref().unwrap_or(image);
        let pair = (image.clone(), program.clone());
        if self.programs.has(&pair) {
            return Ok(());
        }
        let options = ContainerArchiveInfoOptionsBuilder::default()
            .path(program)
            .build();
        let look = self
            .engine
            .call(CALL_DEADLINE, |docker| async move {
                docker
                    .get_container_archive_info(container, Some(options))
                    .await
            })
            .await;
        match look {
            Ok(_) => {
                // A volume of one app says nothing about the image for another.
                if run.workload.volumes.is_empty() {
                    self.programs.add(pair);
                }
                Ok(())
            }
            Err(error) if error.is_not_found() => {
                // The answer to a HEAD has no body to tell a missing file from a
                // container that somebody removed meanwhile.
                if let Err(error) = self.inspect_container(container).await {
                    return Err(error::of_call(&error));
                }
                self.remove(instance.id).await?;
                Err(Error::new(
                    FailureKind::Rejected,
                    format!("{program}: no such file in {image}"),
                ))
            }
            Err(error) => {
                tracing::debug!(%error, program, "could not look for the program");
                Ok(())
            }
        }
    }
}
