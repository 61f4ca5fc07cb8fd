use super::*;
use crate::agent::testing::{Tweak as _, instance, set};
use crate::model::Epoch;

fn open(folder: &Path) -> Ledger {
    Ledger::open(folder, "n1".parse().unwrap())
}

fn at(epoch: i64, generation: i64) -> Arc<DesiredSet> {
    let mut set = set(generation, [instance(1)]);
    set.epoch = Epoch(epoch);
    Arc::new(set)
}

#[test]
fn a_set_survives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path());
    assert!(ledger.set().is_none() && ledger.hold().is_none());
    assert_eq!(ledger.accept(at(1, 1)).unwrap(), Accepted::New);
    assert_eq!(ledger.accept(at(1, 1)).unwrap(), Accepted::Known);
    let again = open(dir.path());
    assert_eq!(again.set(), Some(&at(1, 1)));
    assert_eq!(again.hold(), None);
}

#[test]
fn older_sets_are_refused_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).accept(at(2, 10)).unwrap();
    let mut ledger = open(dir.path());
    for older in [at(2, 9), at(1, 11)] {
        let error = ledger.accept(older).unwrap_err();
        assert!(
            matches!(error, Error::Refused(Refused::Older { .. })),
            "{error}"
        );
    }
    ledger.accept(at(3, 1)).unwrap();
    ledger.accept(at(3, 2)).unwrap();
    assert_eq!(open(dir.path()).set(), Some(&at(3, 2)));
}

#[test]
fn the_same_number_with_other_content_is_refused_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path());
    ledger.accept(at(1, 1)).unwrap();
    let cases: [(Vec<_>, &str); 4] = [
        (vec![instance(1), instance(2)], "adds instance"),
        (vec![], "drops instance"),
        (vec![instance(1).stopping()], "changes the goal"),
        (
            vec![instance(1).with(|r| r.image = None)],
            "changes instance",
        ),
    ];
    for (instances, why) in cases {
        let error = ledger.accept(Arc::new(set(1, instances))).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    let mut other = set(1, [instance(1)]);
    other
        .images
        .insert("x".into(), crate::model::spec::PullPolicy::Never);
    let error = ledger.accept(Arc::new(other)).unwrap_err();
    assert!(error.to_string().contains("images"), "{error}");
    assert_eq!(ledger.set(), Some(&at(1, 1)));
}

#[test]
fn sets_of_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = open(dir.path());
    ledger.accept(at(1, 1)).unwrap();
    let mut foreign = set(2, []);
    foreign.cluster = "other".into();
    let error = ledger.accept(Arc::new(foreign)).unwrap_err();
    assert!(
        matches!(error, Error::Refused(Refused::OtherCluster { .. })),
        "{error}"
    );
    let mut foreign = set(2, []);
    foreign.node = "n2".parse().unwrap();
    let error = ledger.accept(Arc::new(foreign)).unwrap_err();
    assert!(
        matches!(error, Error::Refused(Refused::OtherNode { .. })),
        "{error}"
    );
}

#[test]
fn a_damaged_ledger_holds_until_a_new_set_and_still_knows_what_is_too_old() {
    for damage in ["", "evenkeel-1 00\n{}", "garbage"] {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = open(dir.path());
        ledger.accept(at(1, 5)).unwrap();
        ledger.accept(at(1, 6)).unwrap();
        std::fs::write(dir.path().join("ledger"), damage).unwrap();
        let mut ledger = open(dir.path());
        assert!(ledger.hold().is_some_and(|h| h.contains("damaged")));
        assert_eq!(ledger.set(), Some(&at(1, 5)), "the predecessor");
        assert!(ledger.accept(at(1, 4)).is_err());
        assert!(ledger.hold().is_some());
        assert_eq!(ledger.accept(at(1, 6)).unwrap(), Accepted::New);
        assert_eq!(ledger.hold(), None);
        assert_eq!(open(dir.path()).set(), Some(&at(1, 6)));
    }
}

#[test]
fn a_file_cut_anywhere_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).accept(at(1, 1)).unwrap();
    let path = dir.path().join("ledger");
    let whole = std::fs::read(&path).unwrap();
    for cut in (0..whole.len()).step_by(7) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let ledger = open(dir.path());
        assert!(ledger.hold().is_some(), "cut at {cut}");
        assert!(ledger.set().is_none());
    }
}

#[test]
fn a_crash_before_the_rename_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).accept(at(1, 1)).unwrap();
    std::fs::write(dir.path().join("ledger.tmp"), "half").unwrap();
    let mut ledger = open(dir.path());
    assert_eq!(ledger.set(), Some(&at(1, 1)));
    ledger.accept(at(1, 2)).unwrap();
    assert_eq!(open(dir.path()).set(), Some(&at(1, 2)));
}
