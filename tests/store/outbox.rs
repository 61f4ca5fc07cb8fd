//! Messages to forges: written with what caused them, one at a time, in order.

use std::time::Duration;

use evenkeel::model::*;
use evenkeel::store::{Commit, Delivery, Error, Message, Outgoing, Retention};

use super::builders::*;
use super::support::*;

const SOON: Duration = Duration::from_secs(60);

fn entry(commit: usize, state: StatusState, description: &str) -> OutboxEntry {
    OutboxEntry {
        source: source_name(0),
        commit: commit_id(commit),
        context: "evenkeel/test/source-0".into(),
        status: CommitStatus {
            state,
            description: description.into(),
            target_url: None,
        },
        follow_up: false,
    }
}

fn words(message: &Outgoing) -> String {
    match &message.message {
        Message::Status { status, .. } => status.description.clone(),
        Message::Comment { comment, .. } => comment.body.clone(),
    }
}

impl Leader {
    async fn say(&mut self, entries: &[OutboxEntry]) {
        let committed = self.store.commit(self.saying(&[], entries)).await.unwrap();
        self.image.generation = committed.generation;
    }

    fn saying<'a>(&self, changes: &'a [Change], outbox: &'a [OutboxEntry]) -> Commit<'a> {
        Commit {
            epoch: self.epoch,
            base: self.image.generation,
            cause: "a test",
            changes,
            events: &[],
            outbox,
        }
    }

    async fn claim(&self) -> Vec<Outgoing> {
        let claimed = self.store.claim_outbox(self.epoch, &[], 16, SOON).await;
        claimed.unwrap()
    }

    /// Takes out and acknowledges all there is: what a forge would see.
    async fn drain(&self) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let claimed = self.claim().await;
            if claimed.is_empty() {
                return seen;
            }
            for message in claimed {
                seen.push(words(&message));
                self.store
                    .outbox_sent(self.epoch, message.id)
                    .await
                    .unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_message_is_written_with_what_caused_it_or_not_at_all() {
    let mut leader = leader().await;
    let entries = [entry(1, StatusState::Pending, "rolling out")];
    // Its change does not fit: neither is written.
    let misfit = [Change::Undeclare { app: app(9) }];
    let refused = leader.store.commit(leader.saying(&misfit, &entries)).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(leader.store.outbox_due_in().await.unwrap(), None);
    let fits = [Change::PutSource(Box::new(source(0)))];
    let committed = leader.store.commit(leader.saying(&fits, &entries)).await;
    leader.image.apply_all(&fits).unwrap();
    leader.image.generation = committed.unwrap().generation;
    leader.check().await;
    let claimed = leader.claim().await;
    assert_eq!(claimed.len(), 1);
    let wanted = Message::Status {
        commit: commit_id(1),
        context: entries[0].context.clone(),
        status: entries[0].status.clone(),
    };
    assert_eq!(claimed[0].message, wanted);
    assert_eq!(claimed[0].attempts, 1);
    // It is out: nobody else gets it before it is due again.
    assert_eq!(leader.claim().await, []);
    let due = leader.store.outbox_due_in().await.unwrap().unwrap();
    assert!(due > SOON / 2 && due <= SOON, "{due:?}");
}

#[tokio::test]
async fn the_same_is_not_said_twice_and_the_newest_takes_the_place() {
    let mut leader = leader().await;
    let pending = entry(1, StatusState::Pending, "rolling out");
    let success = entry(1, StatusState::Success, "healthy");
    leader.say(&[pending.clone(), pending.clone()]).await;
    leader.say(std::slice::from_ref(&pending)).await;
    assert_eq!(leader.drain().await, ["rolling out"]);
    // What has arrived is not said again either.
    leader.say(std::slice::from_ref(&pending)).await;
    assert_eq!(leader.drain().await, [""; 0]);
    leader.say(std::slice::from_ref(&success)).await;
    leader.say(std::slice::from_ref(&pending)).await;
    leader.say(std::slice::from_ref(&success)).await;
    assert_eq!(leader.drain().await, ["healthy"]);
    // Another commit is another matter.
    leader
        .say(&[entry(2, StatusState::Pending, "second"), success])
        .await;
    assert_eq!(leader.drain().await, ["second"]);
}

#[tokio::test]
async fn a_follow_up_only_ends_what_is_pending() {
    let mut leader = leader().await;
    let late = |commit, words| OutboxEntry {
        follow_up: true,
        ..entry(commit, StatusState::Success, words)
    };
    leader
        .say(&[
            entry(1, StatusState::Pending, "one rolls"),
            entry(2, StatusState::Failure, "two failed"),
        ])
        .await;
    leader.drain().await;
    leader
        .say(&[late(1, "one"), late(2, "two"), late(3, "three")])
        .await;
    assert_eq!(leader.drain().await, ["one"]);
}

#[tokio::test]
async fn failures_come_again_later_or_never() {
    let mut leader = leader().await;
    let pending = entry(1, StatusState::Pending, "rolling out");
    leader.say(std::slice::from_ref(&pending)).await;
    let id = leader.claim().await[0].id;
    let store = leader.store.clone();
    let failed = async |again| {
        let failed = store.outbox_failed(leader.epoch, id, "500", again).await;
        failed.unwrap();
    };
    failed(Some(Duration::ZERO)).await;
    let again = leader.claim().await;
    assert_eq!((again[0].id, again[0].attempts), (id, 2));
    failed(Some(SOON)).await;
    assert_eq!(leader.claim().await, []);
    // Said again (the source's settings changed): worth another try at once.
    leader.say(std::slice::from_ref(&pending)).await;
    assert_eq!(leader.claim().await[0].attempts, 3);
    store
        .outbox_failed(leader.epoch, id, "422", None)
        .await
        .unwrap();
    assert_eq!(store.outbox_due_in().await.unwrap(), None);
    // What was given up is not what the forge shows.
    leader.say(std::slice::from_ref(&pending)).await;
    assert_eq!(leader.drain().await, ["rolling out"]);
}

/// In the same commit as the forge: what the other one was told, this one was not.
#[tokio::test]
async fn a_new_forge_is_told_what_the_one_before_knew() {
    let mut leader = leader().await;
    let said = [entry(1, StatusState::Success, "healthy")];
    let of = |kind| {
        let mut source = source(0);
        source.spec.forge = Some(ForgeSpec {
            kind,
            api_url: "https://forge.example".to_owned(),
            repository: "team/apps".to_owned(),
            token_file: None,
            username: None,
            app: None,
        });
        [Change::PutSource(Box::new(source))]
    };
    for (kind, told) in [
        (ForgeKind::Gitea, &["healthy"][..]),
        (ForgeKind::Gitea, &[]),
        (ForgeKind::GitLab, &["healthy"]),
    ] {
        let changes = of(kind);
        let committed = leader.store.commit(leader.saying(&changes, &said)).await;
        leader.image.generation = committed.unwrap().generation;
        assert_eq!(leader.drain().await, told);
    }
}

#[tokio::test]
async fn one_of_each_source_at_a_time() {
    let mut leader = leader().await;
    let of = |n: usize, commit, words: &str| OutboxEntry {
        source: source_name(n),
        ..entry(commit, StatusState::Success, words)
    };
    leader
        .say(&[of(0, 1, "a"), of(0, 2, "b"), of(1, 1, "c")])
        .await;
    let busy = [source_name(1)];
    let claimed = leader.store.claim_outbox(leader.epoch, &busy, 16, SOON);
    let claimed = claimed.await.unwrap();
    let words: Vec<String> = claimed.iter().map(words).collect();
    assert_eq!(words, ["a"]);
    let mut rest = leader.drain().await;
    rest.sort();
    assert_eq!(rest, ["b", "c"]);
}

#[tokio::test]
async fn the_latest_comment_of_a_pull_request_takes_the_place_of_earlier_ones() {
    let mut leader = leader().await;
    let comment = |source, number, body: &str| {
        let marker = "evenkeel/test/plan".to_owned();
        let body = body.to_owned();
        (source_name(source), number, PullComment { marker, body })
    };
    let store = leader.store.clone();
    let write = async |comments: &[(SourceName, u64, PullComment)]| {
        let statuses = [entry(1, StatusState::Success, "would fit")];
        let added = store.add_outbox(leader.epoch, &statuses, comments).await;
        added.unwrap();
    };
    write(&[comment(0, 7, "first"), comment(0, 7, "second")]).await;
    write(&[comment(0, 8, "other"), comment(1, 7, "elsewhere")]).await;
    let mut seen = leader.drain().await;
    seen.sort();
    assert_eq!(seen, ["elsewhere", "other", "second", "would fit"]);
    // What arrived is not said again; another version is.
    write(&[comment(0, 7, "second")]).await;
    assert_eq!(leader.drain().await, [""; 0]);
    write(&[comment(0, 7, "third\0")]).await;
    let claimed = leader.claim().await;
    match &claimed[0].message {
        Message::Comment {
            pull_request: 7,
            comment,
        } => assert_eq!(comment.marker, "evenkeel/test/plan"),
        other => panic!("{other:?}"),
    }
    // It does not stand in the way of a commit's status.
    leader
        .say(&[entry(2, StatusState::Failure, "failed")])
        .await;
    let late = [comment(0, 9, "x")];
    let stale = leader.store.add_outbox(Epoch(0), &[], &late).await;
    assert!(matches!(stale, Err(Error::StaleEpoch { .. })));
}

#[tokio::test]
async fn what_was_announced_of_a_commit_ends_with_the_next_one() {
    let mut leader = leader().await;
    let context = "evenkeel/test/source-0";
    let store = leader.store.clone();
    let announce = async |epoch, commit| {
        let (announced, overtaken) = (
            entry(0, StatusState::Pending, "applying").status,
            entry(0, StatusState::Superseded, "overtaken").status,
        );
        store
            .announce(
                epoch,
                &source_name(0),
                &commit_id(commit),
                context,
                &announced,
                &overtaken,
            )
            .await
    };
    announce(leader.epoch, 1).await.unwrap();
    announce(leader.epoch, 1).await.unwrap();
    assert_eq!(leader.drain().await, ["applying"]);
    leader
        .say(&[entry(1, StatusState::Success, "healthy")])
        .await;
    leader.drain().await;
    // It came to a verdict: nothing is ended.
    announce(leader.epoch, 2).await.unwrap();
    assert_eq!(leader.drain().await, ["applying"]);
    // This one never does; the one after it was not even sent.
    announce(leader.epoch, 3).await.unwrap();
    announce(leader.epoch, 4).await.unwrap();
    let mut seen = Vec::new();
    while let [message, ..] = leader.claim().await.as_slice() {
        let Message::Status { commit, status, .. } = &message.message else {
            panic!("{message:?}");
        };
        seen.push((commit.clone(), status.description.clone()));
        let sent = store.outbox_sent(leader.epoch, message.id).await;
        sent.unwrap();
    }
    let told = |n, words: &str| (commit_id(n), words.to_owned());
    assert_eq!(seen, [told(2, "overtaken"), told(4, "applying")]);
    let record = store
        .told(&source_name(0), &commit_id(2), 10)
        .await
        .unwrap();
    let words: Vec<(&str, Delivery)> = record
        .iter()
        .map(|t| (t.status.description.as_str(), t.delivery))
        .collect();
    assert_eq!(
        words,
        [("overtaken", Delivery::Sent), ("applying", Delivery::Sent)]
    );
    let stale = announce(Epoch(0), 5).await;
    assert!(matches!(stale, Err(Error::StaleEpoch { .. })));
}

#[tokio::test]
async fn only_the_leader_sends() {
    let mut leader = leader().await;
    leader
        .say(&[entry(1, StatusState::Success, "healthy")])
        .await;
    let id = leader.claim().await[0].id;
    let lease = leader.store.acquire_lease("me", "here", TTL).await;
    assert!(lease.unwrap().unwrap().epoch != leader.epoch);
    let stale = |e: Error| assert!(matches!(e, Error::StaleEpoch { .. }), "{e:?}");
    let (store, old) = (&leader.store, leader.epoch);
    stale(store.claim_outbox(old, &[], 16, SOON).await.unwrap_err());
    stale(store.outbox_sent(old, id).await.unwrap_err());
    stale(store.outbox_failed(old, id, "x", None).await.unwrap_err());
}

#[tokio::test]
async fn what_a_dead_leader_took_out_is_due_at_once_and_what_failed_keeps_its_pause() {
    let mut leader = leader().await;
    let both = [
        entry(1, StatusState::Success, "lost"),
        OutboxEntry {
            source: "other".parse().unwrap(),
            ..entry(2, StatusState::Success, "refused")
        },
    ];
    leader.say(&both).await;
    let (store, hour) = (&leader.store, Duration::from_secs(3600));
    let claim = async |epoch| {
        let claimed = store.claim_outbox(epoch, &[], 16, hour).await.unwrap();
        claimed.iter().map(|m| (words(m), m.id)).collect::<Vec<_>>()
    };
    let claimed = claim(leader.epoch).await;
    let refused = claimed.iter().find(|(text, _)| text == "refused").unwrap();
    let failed = store.outbox_failed(leader.epoch, refused.1, "no", Some(hour));
    failed.await.unwrap();
    let next = store.acquire_lease("me", "here", TTL).await;
    let next = next.unwrap().unwrap().epoch;
    assert_eq!(claim(next).await, []);
    assert_eq!(store.outbox_take_back(next).await.unwrap(), 1);
    assert_eq!(claim(next).await.len(), 1);
    assert!(store.outbox_take_back(leader.epoch).await.is_err());
    // One that failed before and was taken out again is lost just the same.
    let failed = store.outbox_failed(next, refused.1, "no", Some(Duration::ZERO));
    failed.await.unwrap();
    assert_eq!(claim(next).await.len(), 1);
    assert_eq!(store.outbox_take_back(next).await.unwrap(), 2);
}

#[tokio::test]
async fn old_messages_are_forgotten() {
    let mut leader = leader().await;
    leader
        .say(&[
            entry(1, StatusState::Success, "one"),
            entry(2, StatusState::Success, "two"),
        ])
        .await;
    leader.drain().await;
    let keep = Retention::default();
    let collected = leader.store.collect(leader.epoch, &keep).await.unwrap();
    assert_eq!(collected.messages, 0);
    let none = Retention {
        events_max_age: Duration::ZERO,
        ..keep
    };
    let collected = leader.store.collect(leader.epoch, &none).await.unwrap();
    assert_eq!(collected.messages, 2);
}
