//! Whether a desired set may be obeyed: pure, so that the ledger and the simulation ask the same.

use crate::model::{DesiredSet, Epoch, Generation, NodeName};
use crate::mutant::{Mutant, mutant};

/// Why a set is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(
        "refused an older desired set: epoch {} generation {}, but epoch {} generation {} is known",
        got.0.0, got.1.0, have.0.0, have.1.0
    )]
    Older {
        have: (Epoch, Generation),
        got: (Epoch, Generation),
    },
    #[error(
        "refused a second desired set with epoch {} generation {}: {difference}",
        at.0.0, at.1.0
    )]
    Conflict {
        at: (Epoch, Generation),
        difference: String,
    },
    #[error("refused a desired set for node {got}: this is {have}")]
    OtherNode { have: NodeName, got: NodeName },
    #[error("refused a desired set of cluster \"{got}\": this node belongs to \"{have}\"")]
    OtherCluster { have: String, got: String },
}

/// What is to be done with a set that may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// To be written, then obeyed.
    New,
    /// In force already.
    Known,
}

/// Whether a set that would replace `have` is trusted as it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// `have` is in force.
    InForce,
    /// `have` only tells which sets are too old: the ledger itself could not be read.
    Held,
}

/// Judges `set` by what the node `node` has.
pub fn admit(
    node: &NodeName,
    have: Option<&DesiredSet>,
    known: Known,
    set: &DesiredSet,
) -> Result<Admission, Refused> {
    if set.node != *node {
        return Err(Refused::OtherNode {
            have: node.clone(),
            got: set.node.clone(),
        });
    }
    let Some(have) = have else {
        return Ok(Admission::New);
    };
    if have.cluster != set.cluster {
        return Err(Refused::OtherCluster {
            have: have.cluster.clone(),
            got: set.cluster.clone(),
        });
    }
    let (old, new) = ((have.epoch, have.generation), (set.epoch, set.generation));
    if is_older(new, old) {
        return Err(Refused::Older {
            have: old,
            got: new,
        });
    }
    if new == old && have != set {
        return Err(Refused::Conflict {
            at: new,
            difference: difference(have, set),
        });
    }
    Ok(match known {
        Known::InForce if new == old => Admission::Known,
        Known::InForce | Known::Held => Admission::New,
    })
}

fn is_older(new: (Epoch, Generation), old: (Epoch, Generation)) -> bool {
    if mutant(Mutant::AgentTakesOlderEpoch) {
        return new.1 < old.1;
    }
    if mutant(Mutant::AgentTakesOlderGeneration) {
        return new.0 < old.0;
    }
    new < old
}

/// The first thing in which two sets differ.
fn difference(have: &DesiredSet, got: &DesiredSet) -> String {
    for (id, instance) in &got.instances {
        match have.instances.get(id) {
            None => return format!("it adds instance {id} of {}", instance.app),
            Some(known) if known.goal != instance.goal => {
                return format!("it changes the goal of instance {id} of {}", instance.app);
            }
            Some(known) if known != instance => {
                return format!("it changes instance {id} of {}", instance.app);
            }
            Some(_) => {}
        }
    }
    if let Some((id, instance)) = have
        .instances
        .iter()
        .find(|(id, _)| !got.instances.contains_key(id))
    {
        return format!("it drops instance {id} of {}", instance.app);
    }
    "its images differ".to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::agent::testing::{instance, set};

    proptest! {
        /// Whatever order leaderships and their states arrive in: what is in force only moves
        /// forward, and one (epoch, generation) has one content.
        #[test]
        fn p10_no_older_word_is_obeyed(words in prop::collection::vec((0..4i64, 0..5i64, 0..3u128), 1..60)) {
            let mut have: Option<DesiredSet> = None;
            for (epoch, generation, content) in words {
                let mut word = set(generation, (0..content).map(instance));
                word.epoch = Epoch(epoch);
                let before = have.as_ref().map(|s| (s.epoch, s.generation));
                match admit(&word.node.clone(), have.as_ref(), Known::InForce, &word) {
                    Ok(Admission::New) => {
                        prop_assert!(before < Some((word.epoch, word.generation)));
                        have = Some(word);
                    }
                    Ok(Admission::Known) => prop_assert_eq!(have.as_ref(), Some(&word)),
                    Err(Refused::Older { .. }) => prop_assert!(before > Some((word.epoch, word.generation))),
                    Err(Refused::Conflict { .. }) => {
                        prop_assert_eq!(before, Some((word.epoch, word.generation)));
                        prop_assert_ne!(have.as_ref(), Some(&word));
                    }
                    Err(other) => prop_assert!(false, "{other}"),
                }
            }
        }
    }
}
