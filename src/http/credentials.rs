//! The tokens that open the API, as this process knows them.
//!
//! Two come from the data folder, the admin's and the agents'; named ones from the
//! database, all of them kept in memory, so that a database that is away shuts nobody out.
//! A token's text is `evk_ID_SECRET`: the id finds the entry, and the digest of the whole
//! is compared in constant time.
//!
//! Invariants: the controller that carries a revocation out (the leader) refuses the token
//! from its answer on. Every other looks for changes each [`LOOK_EVERY`], so refuses it
//! within two seconds, as long as it reaches the database; what it may answer by itself is
//! reads, all else is checked again by the leader. What was never read is `Unknown`, not
//! refused as wrong.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::model::access::{Revoked, TokenDigest};
use crate::model::{Timestamp, Token};
use crate::store::{self, Store};

/// Between two looks for changed tokens: one number is read.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two writes of when tokens were used.
const WRITE_USE_EVERY: Duration = Duration::from_secs(60);

/// What a token's text begins with, so that scanners for leaked secrets can know it.
pub const MARK: &str = "evk_";

/// The tokens; what is kept of each is its digest.
pub struct Tokens {
    admin: TokenDigest,
    agents: TokenDigest,
    known: RwLock<Known>,
    /// Counts changes of `known`.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Known {
    /// Of the database when it was read; `None`: never yet.
    version: Option<i64>,
    /// Changes that this process made itself: what was being read meanwhile may lack them.
    own: u64,
    by_id: HashMap<String, Arc<Entry>>,
}

struct Entry {
    token: Token,
    /// Last use by this process, in the form of [`Timestamp`]; 0: none.
    used: AtomicI64,
    /// What of `used` is written down.
    written: AtomicI64,
}

/// Whose token it is.
#[derive(Clone, Debug)]
pub enum Holder {
    Admin,
    Agents,
    Named(Box<Token>),
}

/// Why a text opens nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    Wrong,
    Expired {
        name: String,
        at: Timestamp,
    },
    Revoked {
        name: String,
        by: Revoked,
    },
    /// Named tokens were never read: the database did not answer since this process began.
    Unknown,
}

impl Tokens {
    /// White space around a token (the line feed of its file) does not count.
    pub fn new(admin: &str, agents: &str) -> Tokens {
        Tokens {
            admin: digest(admin),
            agents: digest(agents),
            known: RwLock::default(),
            changes: watch::channel(0).0,
        }
    }

    pub(super) fn holder(&self, text: &str, now: Timestamp) -> Result<Holder, Refused> {
        let text = text.trim();
        // An empty text would match an empty token file.
        if text.is_empty() {
            return Err(Refused::Wrong);
        }
        let given = digest(text);
        if same(&given, &self.admin) {
            return Ok(Holder::Admin);
        }
        if same(&given, &self.agents) {
            return Ok(Holder::Agents);
        }
        let Some(id) = id_of(text) else {
            return Err(Refused::Wrong);
        };
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = known.by_id.get(id) else {
            return Err(match known.version {
                Some(_) => Refused::Wrong,
                None => Refused::Unknown,
            });
        };
        if !same(&given, &entry.token.digest) {
            return Err(Refused::Wrong);
        }
        // Only who has the secret is told more than that it is wrong.
        entry.check(now)?;
        entry.used.fetch_max(now.0, Ordering::Relaxed);
        Ok(Holder::Named(Box::new(entry.token.clone())))
    }

    /// Takes in a token as the database now has it.
    pub(super) fn put(&self, token: Token) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.own += 1;
        let entry = {
            let before = known.by_id.get(&token.id);
            Entry::new(token, before)
        };
        known.by_id.insert(entry.token.id.clone(), Arc::new(entry));
        drop(known);
        self.changes.send_modify(|n| *n += 1);
    }

    /// When this process last saw the token of this id.
    pub(super) fn last_used(&self, id: &str) -> Option<Timestamp> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let used = known.by_id.get(id)?.used.load(Ordering::Relaxed);
        (used > 0).then_some(Timestamp(used))
    }

    /// Returns once the token of this id opens nothing any more: streams end with it.
    pub(super) async fn ended(self: Arc<Tokens>, id: Option<String>) {
        let Some(id) = id else {
            return std::future::pending().await;
        };
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            let now = clock::now();
            let expires = {
                let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
                match known.by_id.get(&id) {
                    Some(entry) if entry.check(now).is_ok() => entry.token.expires_at,
                    Some(_) | None => return,
                }
            };
            let expiry = async {
                match expires {
                    Some(at) => tokio::time::sleep(at.since(now)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = expiry => {}
            }
        }
    }

    /// Keeps what is known up to date, and writes down what was used, until `stop`.
    pub(super) async fn keep(self: Arc<Tokens>, store: Store, stop: CancellationToken) {
        let mut wrote = tokio::time::Instant::now();
        let mut failing = false;
        loop {
            match self.look(&store).await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    tracing::warn!(%error, "changes of tokens cannot be read; those known go on to be accepted");
                    failing = true;
                }
                Err(_) => {}
            }
            let stopping = stop
                .run_until_cancelled(tokio::time::sleep(LOOK_EVERY))
                .await
                .is_none();
            if stopping || wrote.elapsed() >= WRITE_USE_EVERY {
                wrote = tokio::time::Instant::now();
                self.write_use(&store).await;
            }
            if stopping {
                return;
            }
        }
    }

    async fn look(&self, store: &Store) -> Result<(), store::Error> {
        let (before, own) = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            (known.version, known.own)
        };
        if before == Some(store.token_version().await?) {
            return Ok(());
        }
        let (version, tokens) = store.all_tokens().await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.own != own {
            // The next look reads it again.
            return Ok(());
        }
        let entries = tokens.into_iter().map(|token| {
            let before = known.by_id.get(&token.id);
            let entry = Entry::new(token, before);
            (entry.token.id.clone(), Arc::new(entry))
        });
        let by_id = entries.collect();
        known.by_id = by_id;
        known.version = Some(version);
        drop(known);
        self.changes.send_modify(|n| *n += 1);
        Ok(())
    }

    async fn write_use(&self, store: &Store) {
        let entries: Vec<Arc<Entry>> = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known.by_id.values().map(Arc::clone).collect()
        };
        let news: Vec<(Arc<Entry>, i64)> = entries
            .into_iter()
            .map(|entry| (entry.used.load(Ordering::Relaxed), entry))
            .filter(|(used, entry)| *used > entry.written.load(Ordering::Relaxed))
            .map(|(used, entry)| (entry, used))
            .collect();
        if news.is_empty() {
            return;
        }
        let rows: Vec<(String, Timestamp)> = news
            .iter()
            .map(|(entry, used)| (entry.token.id.clone(), Timestamp(*used)))
            .collect();
        match store.tokens_used(&rows).await {
            Ok(()) => {
                for (entry, used) in news {
                    entry.written.fetch_max(used, Ordering::Relaxed);
                }
            }
            Err(error) => tracing::debug!(%error, "the use of tokens is written down later"),
        }
    }
}

impl Entry {
    fn new(token: Token, before: Option<&Arc<Entry>>) -> Entry {
        let of = |n: fn(&Entry) -> &AtomicI64| {
            before.map_or(0, |entry| n(entry).load(Ordering::Relaxed))
        };
        Entry {
            used: AtomicI64::new(of(|e| &e.used)),
            written: AtomicI64::new(of(|e| &e.written)),
            token,
        }
    }

    fn check(&self, now: Timestamp) -> Result<(), Refused> {
        let name = || self.token.name.clone();
        if let Some(by) = self.token.revoked.clone() {
            return Err(Refused::Revoked { name: name(), by });
        }
        match self.token.expires_at {
            Some(at) if at <= now => Err(Refused::Expired { name: name(), at }),
            Some(_) | None => Ok(()),
        }
    }
}

/// Of a token's text.
pub fn digest(text: &str) -> TokenDigest {
    TokenDigest(Sha256::digest(text.trim().as_bytes()).into())
}

fn same(a: &TokenDigest, b: &TokenDigest) -> bool {
    bool::from(a.0.ct_eq(&b.0))
}

fn id_of(text: &str) -> Option<&str> {
    text.strip_prefix(MARK)?.split_once('_').map(|(id, _)| id)
}
