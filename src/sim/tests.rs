use super::log::Log;
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
