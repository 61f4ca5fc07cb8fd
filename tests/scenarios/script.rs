//! Reads a script, runs its commands, and writes it back with their transcripts.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel::model::node::{NodeFacts, RUNTIME_DOCKER};
use evenkeel::model::quantity::{Resources, parse_cpu, parse_duration, parse_memory};
use evenkeel::model::{AppKey, NodeName, Scheduling, SourceName};
use evenkeel::plan::{Refusal, operate};
use serde_json::{Map, Value, json};

use super::nodes::Host;
use super::world::World;

/// The commands.
pub const HELP: &str = "
node NAME … [cpu=N] [memory=N] [ATTRIBUTE=VALUE …] nodes join
commit ID [SOURCE/][APP FIELD=VALUE …]             changes fields of an app's spec and commits
commit ID -APP …                                   removes apps and commits
write PATH [SOURCE] <<EOF                          writes a file of the tree, for the next commit
delete PATH [SOURCE]                               removes one
source NAME | unreachable NAME                     adds a source; it cannot be read
behave IMAGE HOW                                   what the image does from now on
run DURATION | settle                              time passes; until nothing moves any more
silence NODE | return NODE                         it can not / can be heard
forget NODE                                        it comes back with nothing on it
lose APP/SLOT                                      somebody removes its container
rollback APP [to=COMMIT] | release APP | approve SOURCE    as the operator eva
suspend APP [for=DURATION] | resume APP            also as her, like all below
pause APP | go-on APP | abort APP | restart APP    of the active rollout; a new one
scale APP N [for=DURATION] | scale APP reset       another number of replicas
cordon NODE | open NODE | drain NODE | left NODE   nodes; what is still on one
clock back DURATION | clock forward DURATION       the controller's clock steps
show APP | why APP | bounds APP                    tells its state
";

/// The script with the output of each command below it.
pub fn run(script: &str) -> String {
    let mut world = World::new();
    let mut specs: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut result = String::new();
    let mut lines = script.lines();
    let mut put = |line: &str| {
        result.push_str(line);
        result.push('\n');
    };
    while let Some(line) = lines.next() {
        if line.starts_with("  ") {
            continue;
        }
        put(line);
        let Some(command) = line.strip_prefix("$ ") else {
            continue;
        };
        let mut text = String::new();
        let command = match command.strip_suffix("<<EOF") {
            None => command,
            Some(command) => {
                for line in lines.by_ref() {
                    put(line);
                    if line == "EOF" {
                        break;
                    }
                    text.push_str(line);
                    text.push('\n');
                }
                command
            }
        };
        let words = words(command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Err(refusal) = execute(&mut world, &mut specs, &words, text) {
            let words = world.rename(&refusal.to_string());
            world.out.push(format!("  refused: {words}"));
        }
        for line in world.out.drain(..) {
            put(&line);
        }
    }
    let rest = world.plan();
    assert!(
        rest.changes.is_empty(),
        "the script ends in the middle of something: {:#?}",
        rest.changes
    );
    result
}

/// Splits at spaces, but not inside of brackets.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut depth) = (Vec::new(), String::new(), 0usize);
    for c in line.chars() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c == ' ' && depth == 0 {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        } else {
            word.push(c);
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

fn key(name: &str) -> AppKey {
    format!("default/{name}").parse().unwrap()
}

fn execute(
    world: &mut World,
    specs: &mut BTreeMap<String, Map<String, Value>>,
    words: &[&str],
    text: String,
) -> Result<(), Refusal> {
    let main: SourceName = "main".parse().unwrap();
    let (now, by) = (world.now(), "eva");
    match words {
        ["node", rest @ ..] => {
            let (fields, names): (Vec<&str>, Vec<&str>) =
                rest.iter().partition(|word| word.contains('='));
            for name in names {
                let host = Host::new(facts(&fields));
                world.hosts.insert(name.parse().unwrap(), host);
            }
            world.second();
        }
        ["commit", id, rest @ ..] => {
            let mut source = main;
            let mut app = None;
            for word in rest {
                if let Some(gone) = word.strip_prefix('-') {
                    let path = format!("{gone}.yaml");
                    world.trees.get_mut(&source).unwrap().remove(&path);
                    specs.remove(gone);
                } else if let Some((field, value)) = word.split_once('=') {
                    let name: &str = app.expect("commit: the app comes before its fields");
                    set(specs.get_mut(name).unwrap(), field, value);
                    write(world, &source, name, &specs[name]);
                } else {
                    let mut name = *word;
                    if let Some((other, inner)) = word.split_once('/') {
                        source = other.parse().unwrap();
                        name = inner;
                    }
                    specs.entry(name.to_owned()).or_default();
                    write(world, &source, name, &specs[name]);
                    app = Some(name);
                }
            }
            world.sync(source.as_str(), id);
        }
        ["write", path, rest @ ..] => {
            let source = rest.first().map_or(main, |s| s.parse().unwrap());
            let tree = world.trees.get_mut(&source).unwrap();
            tree.insert((*path).to_owned(), text);
        }
        ["delete", path, rest @ ..] => {
            let source = rest.first().map_or(main, |s| s.parse().unwrap());
            world.trees.get_mut(&source).unwrap().remove(*path);
        }
        ["source", name] => world.add_source(name),
        ["unreachable", name] => world.unreachable(name),
        ["behave", image, how] => world.behave(image, how.parse().unwrap()),
        ["run", time] => {
            for _ in 0..duration(time).as_secs() {
                world.second();
            }
        }
        ["settle"] => world.settle(),
        ["silence", node] => host(world, node).silent = true,
        ["return", node] => host(world, node).silent = false,
        ["forget", node] => {
            host(world, node).forget();
            host(world, node).silent = false;
        }
        ["lose", instance] => {
            let (app, slot) = instance.split_once('/').unwrap();
            let slot: u32 = slot.parse().unwrap();
            let found = world.snapshot.apps[&key(app)]
                .instances
                .values()
                .find(|i| i.slot == slot && i.wants_run())
                .map(|i| (i.id, i.node.clone()))
                .unwrap();
            host(world, found.1.as_str()).lose(found.0);
        }
        ["rollback", app, rest @ ..] => {
            let to = option(rest, "to");
            let decision = operate::plan_rollback(now, &world.snapshot, &key(app), by, None, to)?;
            world.decide(decision);
        }
        ["release", app] => {
            let decision = operate::plan_release(now, &world.snapshot, &key(app), by)?;
            world.decide(decision);
        }
        ["suspend", app, rest @ ..] => {
            let until = option(rest, "for").map(|d| now + duration(d));
            let snapshot = &world.snapshot;
            let decision = operate::plan_suspend(now, snapshot, &key(app), by, None, until)?;
            world.decide(decision);
        }
        ["resume", app] => {
            let decision = operate::plan_resume(now, &world.snapshot, &key(app), by)?;
            world.decide(decision);
        }
        ["pause", app] => {
            let decision = operate::plan_pause(now, &world.snapshot, &key(app), by, None)?;
            world.decide(decision);
        }
        ["go-on", app] => {
            let decision = operate::plan_resume_rollout(now, &world.snapshot, &key(app), by)?;
            world.decide(decision);
        }
        ["abort", app] => {
            let decision = operate::plan_abort(now, &world.snapshot, &key(app), by, None)?;
            world.decide(decision);
        }
        ["restart", app] => {
            let decision = world.restart(&key(app), by)?;
            world.decide(decision);
        }
        ["scale", app, "reset"] => {
            let decision = operate::plan_reset_scale(now, &world.snapshot, &key(app), by)?;
            world.decide(decision);
        }
        ["scale", app, n, rest @ ..] => {
            let until = option(rest, "for").map(|d| now + duration(d));
            let (snapshot, n) = (&world.snapshot, n.parse().unwrap());
            let decision = operate::plan_scale(now, snapshot, &key(app), by, n, None, until)?;
            world.decide(decision);
        }
        ["cordon", node] => schedule(world, node, Scheduling::Cordoned)?,
        ["open", node] => schedule(world, node, Scheduling::Active)?,
        ["drain", node] => schedule(world, node, Scheduling::Draining)?,
        ["left", node] => {
            let lines = world.left(&node.parse().unwrap());
            world.out.extend(lines);
        }
        ["approve", source] => {
            let source = source.parse().unwrap();
            let decision = operate::plan_approve_held(now, &world.snapshot, &source, by)?;
            world.decide(decision);
        }
        ["clock", "back", by] => {
            world.step_clock(-i64::try_from(duration(by).as_secs()).unwrap());
            world.plan();
        }
        ["clock", "forward", by] => {
            world.step_clock(i64::try_from(duration(by).as_secs()).unwrap());
            world.plan();
        }
        ["show", app] => {
            let lines = world.show(&key(app));
            world.out.extend(lines);
        }
        ["why", app] => {
            let lines = world.why(&key(app));
            world.out.extend(lines);
        }
        ["bounds", app] => {
            let line = world.bounds(&key(app));
            world.out.push(line);
        }
        _ => panic!("no such command: {words:?}. Known:{HELP}"),
    }
    Ok(())
}

/// The value of `NAME=VALUE` among the words.
fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    let value = |w: &&'a str| w.strip_prefix(name)?.strip_prefix('=');
    words.iter().find_map(value)
}

fn schedule(world: &mut World, node: &str, scheduling: Scheduling) -> Result<(), Refusal> {
    let (now, name) = (world.now(), node.parse().unwrap());
    let decision = operate::plan_scheduling(now, &world.snapshot, &name, scheduling, "eva", None)?;
    world.decide(decision);
    Ok(())
}

fn duration(text: &str) -> Duration {
    parse_duration(text).unwrap()
}

fn host<'w>(world: &'w mut World, name: &str) -> &'w mut Host {
    let name: NodeName = name.parse().unwrap();
    world.hosts.get_mut(&name).unwrap()
}

fn facts(fields: &[&str]) -> NodeFacts {
    let mut facts = NodeFacts {
        address: "127.0.0.1".to_owned(),
        capacity: Resources {
            cpu_millis: 4000,
            memory_bytes: 4 << 30,
        },
        attributes: BTreeMap::from([(RUNTIME_DOCKER.to_owned(), "true".to_owned())]),
        agent_version: "1".to_owned(),
    };
    for field in fields {
        let (name, value) = field.split_once('=').unwrap();
        match name {
            "cpu" => facts.capacity.cpu_millis = parse_cpu(value).unwrap(),
            "memory" => facts.capacity.memory_bytes = parse_memory(value).unwrap(),
            _ => {
                facts.attributes.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    facts
}

/// Sets `rollout.maxSurge` and the like; the value is YAML.
fn set(spec: &mut Map<String, Value>, field: &str, value: &str) {
    let value: Value = serde_yaml::from_str(value).unwrap_or_else(|_| json!(value));
    let mut at = spec;
    let mut parts = field.split('.').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            at.insert(part.to_owned(), value);
            return;
        }
        at = at
            .entry(part)
            .or_insert_with(|| json!({}))
            .as_object_mut()
            .unwrap();
    }
}

fn write(world: &mut World, source: &SourceName, app: &str, spec: &Map<String, Value>) {
    let document = json!({
        "apiVersion": "evenkeel.dev/v1",
        "kind": "App",
        "metadata": {"name": app},
        "spec": spec,
    });
    let tree = world.trees.get_mut(source).unwrap();
    tree.insert(format!("{app}.yaml"), document.to_string());
}
