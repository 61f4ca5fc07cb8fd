use super::log::Log;
use super::rng::Moment;
use super::script::Happening;
use super::world::World;
use super::{run, run_seed, script};

#[test]
fn a_seed_replays_to_the_same_hash() {
    let runs: Vec<u64> = (0..2).map(|_| run_seed(7).hash).collect();
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], run_seed(8).hash);
}

#[test]
fn some_seeds_hold() {
    for seed in 1..=6 {
        let outcome = run(script::draw(seed), Log::default());
        assert_eq!(outcome.broken, None, "seed {seed}");
    }
}

/// A runtime goes down with all that it ran: probes over the network notice within their own
/// thresholds, however many like answers the simulator leaves out.
#[test]
fn a_dead_instance_answers_no_probe_that_was_left_out() {
    let (down, noticed) = (Moment(60_000), 15_000);
    let mut seen = 0;
    for seed in 1..=4 {
        let mut script = script::draw(seed);
        script.calm_at = Moment(600_000);
        let all_down = |which| Happening::EngineDown {
            which,
            ms: 300_000,
            took_along: true,
        };
        script.happenings = (0..script.nodes).map(|n| (down, all_down(n))).collect();
        let mut world = World::new(script, Log::default());
        while world.now < down.plus(noticed) {
            assert!(world.step());
        }
        let snapshot = &world.store.snapshot;
        let running = snapshot.apps.values().filter(|app| {
            let target = app.target_release();
            target.is_some_and(|t| t.is_stable() && t.spec.health.readiness.is_some())
        });
        for instance in running.flat_map(|app| app.instances.values()) {
            let started = instance.status.as_ref().and_then(|s| s.started_at);
            if started.is_none() {
                continue;
            }
            seen += 1;
            assert!(!instance.is_ready(), "seed {seed}: {}", instance.app);
        }
    }
    assert!(seen > 10, "{seen}");
}
