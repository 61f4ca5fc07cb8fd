//! The folder that holds what a process keeps: tokens, mirrors, the private
//! Postgres, the agent's ledger.
//!
//! ```text
//! DIR/admin-token agent-token   0600, made at the first start
//! DIR/cluster-name              name of the cluster in containers' labels
//! DIR/cluster-id                identity of the database it was used with
//! DIR/controller-id             who holds the lease, also after a restart
//! DIR/node-names                names of this node, now and before
//! DIR/listen                    address of the running API
//! DIR/controller.lock agent.lock  one process per role
//! DIR/postgres/ mirrors/ agent/
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::clock;
use crate::failpoint::{self, Op};
use crate::model::NodeName;
use crate::model::id::check_label;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot use {path}; name another folder with --data-dir, or run as its owner")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "another evenkeel{} runs on the data folder {folder}; stop it, or give this one a folder of its own with --data-dir",
        .process.as_ref().map(|p| format!(" (process {p})")).unwrap_or_default()
    )]
    InUse {
        folder: PathBuf,
        process: Option<String>,
    },
    #[error("the token file {path} is empty; delete it, and a new token is made")]
    EmptyToken { path: PathBuf },
    #[error("\"{name}\" cannot name a cluster: {why}")]
    ClusterName { name: String, why: &'static str },
    #[error(
        "this data folder belongs to cluster \"{known}\", not \"{asked}\"; leave --cluster out, \
         or take a new data folder (containers of the old name are no longer looked after)"
    )]
    OtherCluster { known: String, asked: String },
    #[error(
        "the database is not the one that this data folder was used with. If it was replaced on \
         purpose, delete {file} and the folder {ledger}: what runs is then taken for leftovers and \
         removed, unless the database still knows it"
    )]
    OtherDatabase { file: PathBuf, ledger: PathBuf },
}

/// A folder that exists and can be used.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
}

/// Held for as long as a role runs on the folder.
#[derive(Debug)]
pub struct RoleLock {
    _file: Flock<File>,
}

#[cfg(test)]
impl RoleLock {
    /// What a child has of it once its parent was killed, which lets go of nothing by itself.
    pub fn left_to_a_child(self) -> std::os::fd::OwnedFd {
        use std::os::fd::AsRawFd as _;
        let file = std::mem::ManuallyDrop::new(self._file);
        let shared = file.try_clone().unwrap();
        nix::unistd::close(file.as_raw_fd()).unwrap();
        shared.into()
    }
}

impl DataDir {
    /// Makes it if needed; `None`: the usual place for this user.
    pub fn open(path: Option<&Path>) -> Result<DataDir, Error> {
        let path = match path {
            Some(path) => std::path::absolute(path).map_err(failed(path))?,
            None => DataDir::usual(),
        };
        fs::create_dir_all(&path).map_err(failed(&path))?;
        Ok(DataDir { path })
    }

    /// The folder of a server that was told none: `/var/lib/evenkeel` for root, else below the
    /// user's data folder (XDG base directories).
    pub fn usual() -> PathBuf {
        default_path()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn postgres(&self) -> PathBuf {
        self.path.join("postgres")
    }

    pub fn mirrors(&self) -> PathBuf {
        self.path.join("mirrors")
    }

    pub fn agent(&self) -> PathBuf {
        self.path.join("agent")
    }

    /// Lets the private server's own user reach its folder. Everything else in here that
    /// matters is closed by itself.
    pub fn let_others_through(&self) -> Result<(), Error> {
        let permissions = fs::metadata(&self.path)
            .map_err(failed(&self.path))?
            .permissions();
        let mode = permissions.mode() & 0o7777;
        if mode & 0o001 == 0 {
            fs::set_permissions(&self.path, fs::Permissions::from_mode(mode | 0o011))
                .map_err(failed(&self.path))?;
        }
        Ok(())
    }

    /// One process per role; freed when dropped or when the process ends, however it does.
    pub fn lock(&self, role: &str) -> Result<RoleLock, Error> {
        let path = self.path.join(format!("{role}.lock"));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(&path)
            .map_err(failed(&path))?;
        let mut process = String::new();
        // Only for the message.
        let _ = file.read_to_string(&mut process);
        let mut locked =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
                if errno == nix::errno::Errno::EWOULDBLOCK {
                    Error::InUse {
                        folder: self.path.clone(),
                        process: Some(process.trim().to_owned()).filter(|p| !p.is_empty()),
                    }
                } else {
                    failed(&path)(errno.into())
                }
            })?;
        let write = |file: &mut File| {
            file.set_len(0)?;
            io::Seek::rewind(file)?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut locked).map_err(failed(&path))?;
        Ok(RoleLock { _file: locked })
    }

    /// The token kept in `name`, made if there is none. Readable by its owner only.
    pub fn token(&self, name: &str) -> Result<String, Error> {
        let path = self.path.join(name);
        if let Some(text) = read(&path)? {
            let closed = fs::Permissions::from_mode(0o600);
            fs::set_permissions(&path, closed).map_err(failed(&path))?;
            return if text.is_empty() {
                Err(Error::EmptyToken { path })
            } else {
                Ok(text)
            };
        }
        // Two random UUIDs: 244 bits from the system's generator.
        let token = format!("{}{}", clock::uuid().simple(), clock::uuid().simple());
        self.write(name, &token, 0o600)?;
        Ok(token)
    }

    /// The cluster's name: as asked for, as before, or `fallback` for a new folder.
    pub fn cluster_name(
        &self,
        asked: Option<&str>,
        fallback: impl FnOnce() -> String,
    ) -> Result<String, Error> {
        let known = read(&self.path.join("cluster-name"))?.filter(|n| !n.is_empty());
        let name = match (known, asked) {
            (Some(known), Some(asked)) if known != asked => {
                return Err(Error::OtherCluster {
                    known,
                    asked: asked.to_owned(),
                });
            }
            (Some(known), _) => known,
            (None, Some(asked)) => asked.to_owned(),
            (None, None) => fallback(),
        };
        if let Err(error) = check_label(&name) {
            return Err(Error::ClusterName {
                name,
                why: error.why,
            });
        }
        self.write("cluster-name", &name, 0o644)?;
        Ok(name)
    }

    /// What this node was called before, for what runs here under those names. Remembers `now`.
    pub fn former_nodes(&self, now: &NodeName) -> Result<Vec<NodeName>, Error> {
        let text = read(&self.path.join("node-names"))?.unwrap_or_default();
        let known: Vec<NodeName> = text.lines().filter_map(|l| l.parse().ok()).collect();
        if !known.contains(now) {
            let all = format!("{text}\n{now}");
            self.write("node-names", all.trim_start(), 0o644)?;
        }
        Ok(known.into_iter().filter(|name| name != now).collect())
    }

    /// A name that no other data folder on a host has: two clusters of the same name on one
    /// Engine would each take the other's containers for leftovers.
    pub fn new_cluster_name() -> String {
        format!("local-{}", &clock::uuid().simple().to_string()[..8])
    }

    /// Who holds the lease: the same after a restart, so that a controller that was killed leads
    /// again at once. Unique because [`DataDir::lock`] admits one process only.
    pub fn controller_id(&self) -> Result<String, Error> {
        if let Some(id) = read(&self.path.join("controller-id"))?.filter(|id| !id.is_empty()) {
            return Ok(id);
        }
        let id = clock::uuid().to_string();
        self.write("controller-id", &id, 0o644)?;
        Ok(id)
    }

    /// Refuses a database other than the one of earlier starts: its leaders' epochs begin
    /// anew, so the agent would refuse their orders.
    pub fn check_database(&self, id: uuid::Uuid) -> Result<(), Error> {
        let file = self.path.join("cluster-id");
        match read(&file)? {
            Some(known) if known != id.to_string() => Err(Error::OtherDatabase {
                file,
                ledger: self.agent(),
            }),
            Some(_) => Ok(()),
            None => self.write("cluster-id", &id.to_string(), 0o644),
        }
    }

    /// Tells those on this machine where the API is.
    pub fn write_listen(&self, address: &str) -> Result<(), Error> {
        self.write("listen", address, 0o644)
    }

    /// All of it or nothing.
    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), Error> {
        let path = self.path.join(name);
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
            file.as_file()
                .set_permissions(fs::Permissions::from_mode(mode))?;
            writeln!(file, "{text}")?;
            file.as_file().sync_all()?;
            failpoint::around(Op::ConfigWrite, || file.persist(&path)).map_err(|e| e.error)?;
            Ok(())
        };
        write().map_err(failed(&path))
    }
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

fn default_path() -> PathBuf {
    if nix::unistd::Uid::effective().is_root() {
        return PathBuf::from("/var/lib/evenkeel");
    }
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .unwrap_or_else(|| PathBuf::from("/var/tmp"))
        .join("evenkeel")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> (tempfile::TempDir, DataDir) {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(Some(&folder.path().join("data"))).unwrap();
        (folder, dir)
    }

    #[test]
    fn a_token_is_made_once_and_closed_to_others() {
        let (_folder, dir) = dir();
        let token = dir.token("admin-token").unwrap();
        assert_eq!(token.len(), 64);
        let path = dir.path().join("admin-token");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(dir.token("admin-token").unwrap(), token);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, "\n").unwrap();
        assert!(matches!(
            dir.token("admin-token"),
            Err(Error::EmptyToken { .. })
        ));
    }

    #[test]
    fn a_second_process_is_refused_with_the_first_ones_number() {
        let (_folder, dir) = dir();
        let lock = dir.lock("controller").unwrap();
        let refused = dir.lock("controller").unwrap_err().to_string();
        assert!(
            refused.contains(&std::process::id().to_string()),
            "{refused}"
        );
        dir.lock("agent").unwrap();
        drop(lock);
        dir.lock("controller").unwrap();
    }

    #[test]
    fn a_node_that_is_renamed_knows_its_former_names() {
        let (_folder, dir) = dir();
        let [a, b]: [NodeName; 2] = ["a", "b"].map(|n| n.parse().unwrap());
        assert_eq!(dir.former_nodes(&a).unwrap(), []);
        assert_eq!(dir.former_nodes(&b).unwrap(), std::slice::from_ref(&a));
        assert_eq!(dir.former_nodes(&b).unwrap(), std::slice::from_ref(&a));
        assert_eq!(dir.former_nodes(&a).unwrap(), [b]);
    }

    #[test]
    fn a_cluster_keeps_its_name_and_its_database() {
        let (_folder, dir) = dir();
        assert_eq!(dir.cluster_name(None, || "one".to_owned()).unwrap(), "one");
        assert_eq!(
            dir.cluster_name(Some("one"), || "x".to_owned()).unwrap(),
            "one"
        );
        assert!(matches!(
            dir.cluster_name(Some("two"), || "x".to_owned()),
            Err(Error::OtherCluster { .. })
        ));
        let id = uuid::Uuid::from_u128(1);
        dir.check_database(id).unwrap();
        dir.check_database(id).unwrap();
        assert_eq!(dir.controller_id().unwrap(), dir.controller_id().unwrap());
        assert!(matches!(
            dir.check_database(uuid::Uuid::from_u128(2)),
            Err(Error::OtherDatabase { .. })
        ));
    }
}
