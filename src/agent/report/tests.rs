use super::*;
use crate::agent::testing::id;
use crate::model::InstancePhase;

fn view(n: u128, exits: u32) -> InstanceView {
    InstanceView {
        id: id(n),
        phase: InstancePhase::Running,
        ready_since: Some(Millis(500)),
        running_since: Some(Millis(100)),
        exits,
        restarts: 0,
        container_id: None,
        published_ports: BTreeMap::from([("http".into(), 32768)]),
        last_exit: None,
        last_probe: None,
        failure: None,
        log_tail: Vec::new(),
    }
}

fn node(instances: impl IntoIterator<Item = InstanceView>) -> NodeView {
    NodeView {
        settled: true,
        instances: instances.into_iter().map(|i| (i.id, i)).collect(),
        ..NodeView::default()
    }
}

fn builder(address: &str) -> Builder {
    Builder {
        node: "n1".parse().unwrap(),
        address: address.into(),
        session: Uuid::nil(),
        sequence: 0,
        taken: None,
    }
}

#[test]
fn a_new_set_is_told_its_images_even_those_that_stayed() {
    let facts = NodeFacts::default();
    let mut b = builder("10.0.0.7");
    let mut build = |view: &NodeView| {
        let report = b.build(view, &facts, Vec::new(), Extent::Changes, Millis(1500));
        b.taken = Some((view.clone(), facts.clone()));
        report.map(|r| r.images.len())
    };
    let mut view = node([view(1, 0)]);
    let present = ImageState::Present { digest: None };
    view.images.insert("web:1".to_owned(), present);
    view.applied = Some((Epoch(1), Generation(7)));
    assert_eq!(build(&view), Some(1));
    assert_eq!(build(&view), None);
    // Between the two the controller may have had no rollout that needs the image.
    view.applied = Some((Epoch(1), Generation(9)));
    assert_eq!(build(&view), Some(1));
}

#[test]
fn only_changes_are_told_until_everything_is_asked_for() {
    let facts = NodeFacts::default();
    let mut b = builder("10.0.0.7");
    let mut build = |view: &NodeView, extent| {
        let report = b.build(view, &facts, Vec::new(), extent, Millis(1500));
        b.taken = Some((view.clone(), facts.clone()));
        report.map(|r| (r.full, r.sequence, r.instances))
    };
    let before = node([view(1, 0), view(2, 0)]);
    let (full, sequence, instances) = build(&before, Extent::Changes).unwrap();
    assert!(full, "nothing was taken before, so this is everything");
    assert_eq!((sequence, instances.len()), (1, 2));
    assert_eq!(instances[0].ready_ms, Some(1000));
    assert_eq!(instances[0].running_ms, Some(1400));
    assert_eq!(instances[0].ports["http"], "10.0.0.7:32768");

    assert_eq!(build(&before, Extent::Changes), None);
    let after = node([view(1, 0), view(2, 1)]);
    let (full, sequence, instances) = build(&after, Extent::Changes).unwrap();
    assert_eq!((full, sequence), (false, 2));
    assert_eq!(instances.iter().map(|i| i.id).collect::<Vec<_>>(), [id(2)]);
    let (full, _, instances) = build(&after, Extent::Full).unwrap();
    assert_eq!((full, instances.len()), (true, 2));
}

#[test]
fn a_new_set_is_acknowledged_even_if_nothing_else_changed() {
    let facts = NodeFacts::default();
    let mut b = builder("host");
    let mut view = node([]);
    b.taken = Some((view.clone(), facts.clone()));
    view.applied = Some((Epoch(1), Generation(2)));
    let report = b.build(&view, &facts, Vec::new(), Extent::Changes, Millis(0));
    assert_eq!(report.unwrap().applied, view.applied);
}

#[test]
fn addresses_of_version_six_get_their_brackets() {
    let ports = instance_report(&view(1, 0), "fd00::1", Millis(0)).ports;
    assert_eq!(ports["http"], "[fd00::1]:32768");
}
