//! The fake under the contract.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use evenkeel::agent::runtime::fake::FakeRuntime;
use evenkeel::agent::runtime::{Error, Found, Runtime};
use evenkeel::model::FailureKind;
use evenkeel::model::spec::Task;

use crate::harness::{Behaviour, Harness};

struct FakeHarness(FakeRuntime);

const MISSING: &str = "registry.invalid/nothing:1";

impl FakeHarness {
    fn start() -> FakeHarness {
        let fake = FakeRuntime::new("docker");
        let no = Error::new(FailureKind::ImageNotFound, format!("{MISSING}: not found"));
        fake.registry(MISSING, Some(no));
        FakeHarness(fake)
    }
}

#[async_trait]
impl Harness for FakeHarness {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.0.clone())
    }
    fn cluster(&self) -> String {
        "test".into()
    }
    fn task(&self, behaviour: Behaviour) -> Task {
        Task::Image {
            image: "registry.invalid/app:1".into(),
            command: match behaviour {
                Behaviour::NoSuchProgram => Some(vec!["/no/such/program".into()]),
                Behaviour::RunOn | Behaviour::Exit(_) | Behaviour::Stubborn => None,
            },
            args: Vec::new(),
            working_dir: None,
        }
    }
    fn env(&self, behaviour: Behaviour) -> BTreeMap<String, String> {
        let pairs: &[(&str, String)] = match behaviour {
            Behaviour::RunOn => &[("FAKE_OUTPUT", "hello\n$WORD".to_owned())],
            Behaviour::Exit(code) => &[
                ("FAKE_EXIT_CODE", code.to_string()),
                ("FAKE_OUTPUT", "bye".to_owned()),
            ],
            Behaviour::Stubborn => &[
                ("FAKE_STOP_MS", "never".to_owned()),
                ("FAKE_OUTPUT", "hello".to_owned()),
            ],
            Behaviour::NoSuchProgram => &[],
        };
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect()
    }
    fn missing_image(&self) -> Option<String> {
        Some(MISSING.into())
    }
    fn enforces_limits(&self) -> bool {
        true
    }
    async fn again(&self) -> Arc<dyn Runtime> {
        Arc::new(self.0.clone())
    }
    fn exec_exit(&self, code: i32) -> Vec<String> {
        vec!["exit".into(), code.to_string()]
    }
    fn exec_print(&self, text: &str) -> Vec<String> {
        vec!["echo".into(), text.into()]
    }
    fn exec_hang(&self) -> Vec<String> {
        vec!["hang".into()]
    }
    fn exec_process(&self, _seconds: u32) -> Option<Vec<String>> {
        None
    }
    fn exec_both(&self, out: &str, err: &str) -> Vec<String> {
        vec!["both".into(), out.into(), err.into()]
    }
    async fn kill(&self, found: &Found) {
        self.0.crash(found.id, 137);
    }
}

contract!(FakeHarness::start());
