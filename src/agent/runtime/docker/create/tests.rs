use super::*;

fn limits(cpu_millis: Option<u64>, memory_bytes: Option<u64>) -> Limits {
    Limits {
        cpu_millis,
        memory_bytes,
    }
}

/// What the Engine keeps of a change, or of a creation.
fn host(nano_cpus: Option<i64>, memory: Option<i64>) -> HostConfig {
    HostConfig {
        nano_cpus: Some(nano_cpus.unwrap_or(0)),
        memory: Some(memory.unwrap_or(0)),
        ..Default::default()
    }
}

/// The agent compares what is wanted with what is found, and changes what
/// differs: were this not to hold, it would change it for ever.
#[test]
fn limits_put_in_force_are_the_limits_found() {
    let cpus = 4;
    for wanted in [
        limits(None, None),
        limits(Some(250), Some(128 << 20)),
        limits(Some(4000), None),
        limits(Some(9000), Some(1 << 40)),
        limits(None, Some(1 << 50)),
    ] {
        let (nano, memory, _) = ceilings(wanted, cpus);
        assert_eq!(limits_of(&host(nano, memory), Some(wanted), cpus), wanted);
        let change = update(wanted, cpus);
        let changed = host(change.nano_cpus, change.memory);
        assert_eq!(limits_of(&changed, Some(wanted), cpus), wanted);
    }
}

#[test]
fn without_memory_of_it_what_the_engine_says_is_read() {
    assert_eq!(limits_of(&host(None, None), None, 4), limits(None, None));
    assert_eq!(
        limits_of(&host(Some(250_000_000), Some(1 << 20)), None, 4),
        limits(Some(250), Some(1 << 20))
    );
    // Somebody else changed it since.
    assert_eq!(
        limits_of(
            &host(Some(500_000_000), None),
            Some(limits(Some(250), None)),
            4
        ),
        limits(Some(500), None)
    );
}

#[test]
fn a_ceiling_above_the_node_is_none() {
    assert_eq!(nano_cpus(9000, 4), 4_000_000_000);
    assert_eq!(update(limits(None, None), 4).nano_cpus, Some(4_000_000_000));
}
