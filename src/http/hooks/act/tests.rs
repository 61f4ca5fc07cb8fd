use super::*;
use crate::forge::hook::{PullRequestAction, PullRequestEvent};

fn followed() -> Followed {
    Followed {
        name: "shop".parse().unwrap(),
        branch: "main".to_owned(),
        plans: true,
        secret_file: None,
    }
}

#[track_caller]
fn check(event: Event, wanted: &str) {
    let said = match wish(&followed(), &event) {
        Wish::Sync(why) => format!("sync: {why}"),
        Wish::Plan(why) => format!("plan: {why}"),
        Wish::Pong => "pong".to_owned(),
        Wish::Nothing(why) => format!("nothing: {why}"),
    };
    assert_eq!(said, wanted);
}

#[test]
fn only_what_concerns_the_followed_branch_asks_for_a_sync() {
    let commit = Some(CommitId(
        "0123456789abcdef0123456789abcdef01234567".to_owned(),
    ));
    let push = |branch: &str| Event::Push {
        branch: branch.to_owned(),
        after: commit.clone(),
    };
    check(push("main"), "sync: branch main moved to 01234567");
    check(
        push("Main"),
        "nothing: branch Main is not followed, main is",
    );
    check(
        push("feature/main"),
        "nothing: branch feature/main is not followed, main is",
    );
    let created = Event::BranchCreated {
        branch: "main".to_owned(),
        after: commit.clone(),
    };
    check(created, "sync: branch main is new at 01234567");
    let deleted = Event::BranchDeleted {
        branch: "main".to_owned(),
    };
    check(deleted, "sync: branch main was deleted");
    let tag = Event::Tag {
        name: "main".to_owned(),
        commit,
    };
    check(tag, "nothing: tag main is not followed, branch main is");
    check(Event::Changed, "sync: something changed");
    check(Event::Ping, "pong");
    let star = Event::Ignored {
        event: "star".to_owned(),
        why: "who cares".to_owned(),
    };
    check(star, "nothing: star: who cares");
    check(pull_request("main"), "plan: pull request 7 into main");
    check(
        pull_request("next"),
        "nothing: pull request 7 into next: branch main is followed",
    );
    let mut without = followed();
    without.plans = false;
    let Wish::Nothing(why) = wish(&without, &pull_request("main")) else {
        panic!("it has no forge");
    };
    assert!(why.contains("plans no pull requests"), "{why}");
}

fn pull_request(base: &str) -> Event {
    Event::PullRequest(PullRequestEvent {
        number: 7,
        action: PullRequestAction::Opened,
        base: base.to_owned(),
        head_ref: "fix".to_owned(),
        head: CommitId("a".repeat(40)),
        merge: None,
        from_fork: false,
        title: String::new(),
    })
}
