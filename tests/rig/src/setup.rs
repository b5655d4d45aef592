//! From nothing to a machine in which dom0 is up: packages, the unpacked qemu, dom0's files, the snapshot.
//! Each step is kept under `<target>/rig` and made again only if its inputs changed or it is damaged.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::cache::{self, Key, State};
use crate::dom0::Dom0;
use crate::error::{FileContext, RigError};
use crate::helper;
use crate::host;
use crate::machine::Live;
use crate::ovmf::Ovmf;
use crate::qemu::{Drive, Machine, Qemu};
use crate::release::Release;
use crate::workdir::WorkDir;

/// Space that all steps need at their peak: two unpacked trees, dom0's disk, the snapshot's memory.
const SPACE_MIB: u64 = 4096;
const BOOT_LIMIT: Duration = Duration::from_secs(300);
/// Time that another process may take to make the same files.
const LOCK_LIMIT: Duration = Duration::from_secs(1800);

const INITRAMFS: &str = "initramfs";
const MEMORY: &str = "memory";
const STATE: &str = "state";
/// dom0's own scripts, by their names in its initial file system.
const SCRIPTS: [(&str, &str); 3] = [
    ("init", include_str!("../dom0/initramfs.sh")),
    ("init.sh", include_str!("../dom0/init.sh")),
    ("attach.sh", include_str!("../dom0/attach.sh")),
];

/// Everything a run starts from. While it lives, no other process can rebuild the files.
#[derive(Debug)]
pub struct RigFiles {
    release: Release,
    pub(crate) processors: u32,
    pub(crate) qemu: Qemu,
    pub(crate) ovmf: Ovmf,
    pub(crate) dom0: Dom0,
    pub(crate) snapshot: PathBuf,
    pub(crate) helper: PathBuf,
    pub(crate) work: PathBuf,
    /// The rig that a guest goes on in when it has been saved.
    pub(crate) onto: Option<Box<RigFiles>>,
    /// Shared locks on qemu with the firmware, on dom0's files, and on the snapshot.
    _locks: [File; 3],
}

impl RigFiles {
    fn new((steps, locks): (Steps, [Lock; 3]), helper: PathBuf) -> Self {
        let Steps { release, processors, qemu, ovmf, dom0, snapshot, work } = steps;
        let locks = locks.map(|lock| lock.file);
        Self { release, processors, qemu, ovmf, dom0, snapshot, helper, work, onto: None, _locks: locks }
    }

    /// Returns a rig whose guests are saved here and restored in another one: `bash save.sh` in a mark does not restore
    /// them. A guest that is never saved is a bad job.
    #[must_use]
    pub fn moving_onto(self, other: Self) -> Self {
        Self { onto: Some(Box::new(other)), ..self }
    }

    /// Returns the release of Debian that dom0 is made of.
    pub fn release(&self) -> Release {
        self.release
    }

    /// Returns the unpacked qemu 7.2: takes the arguments of qemu-system-x86_64.
    pub fn qemu(&self) -> PathBuf {
        self.qemu.run()
    }

    pub(crate) fn initramfs(&self) -> PathBuf {
        self.snapshot.join(INITRAMFS)
    }

    pub(crate) fn memory(&self) -> PathBuf {
        self.snapshot.join(MEMORY)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.snapshot.join(STATE)
    }
}

/// Makes sure that everything is there and whole, the helper included, which is built meanwhile. `workspace`
/// is the root of this repository, `target` cargo's target directory, `release` what dom0 is made of, `processors` the number
/// that the machine below Xen has, the first of which is dom0's; `say` receives a line for each step that takes time.
///
/// # Errors
///
/// See [`RigError`]; in particular missing packages that may not be installed from here, and lack of space.
pub fn everything(
    workspace: &Path,
    target: &Path,
    release: Release,
    processors: u32,
    say: &(dyn Fn(&str) + Sync),
) -> Result<RigFiles, RigError> {
    thread::scope(|scope| {
        let helper = scope.spawn(|| helper::build(workspace, target));
        let base = prepare(target, release, processors, say);
        let helper = helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(RigFiles::new(base?, helper?))
    })
}

/// Does the same as [`everything`], with a helper that is already built.
///
/// # Errors
///
/// As for [`everything`].
pub fn ensure(
    target: &Path,
    helper: &Path,
    release: Release,
    processors: u32,
    say: &(dyn Fn(&str) + Sync),
) -> Result<RigFiles, RigError> {
    Ok(RigFiles::new(prepare(target, release, processors, say)?, helper.canonicalize().file("find", helper)?))
}

/// Makes everything but the helper. The locks are taken in one order: qemu's, dom0's, the snapshot's.
fn prepare(
    target: &Path,
    release: Release,
    processors: u32,
    say: &(dyn Fn(&str) + Sync),
) -> Result<(Steps, [Lock; 3]), RigError> {
    let base = target.join("rig");
    fs::create_dir_all(&base).file("create", &base)?;
    let base = base.canonicalize().file("find", base)?;
    let work = base.join("work");
    let qemu = Qemu::at(base.join("qemu"));
    let ovmf = Ovmf::at(base.join("ovmf"));
    let qemu_lock = Lock::new(base.join("lock-qemu"))?;
    qemu_lock.until(
        || qemu_state(&qemu) == State::Good && ovmf_state(&ovmf) == State::Good,
        || make_qemu(&qemu, &ovmf, &work, say),
        say,
    )?;
    let steps = Steps {
        qemu,
        ovmf,
        release,
        processors,
        dom0: Dom0::at(release, base.join(release.folder("dom0"))),
        snapshot: base.join(of_processors(&release.folder("snapshot"), processors)),
        work,
    };
    let dom0_lock = Lock::new(base.join(release.folder("lock")))?;
    dom0_lock.until(|| steps.dom0_state() == State::Good, || steps.make_dom0(&base, say), say)?;
    let name = of_processors(&release.folder("lock-snapshot"), processors);
    let snapshot_lock = Lock::new(base.join(name))?;
    snapshot_lock.until(|| steps.snapshot_state() == State::Good, || steps.make_snapshot(&base, say), say)?;
    Ok((steps, [qemu_lock, dom0_lock, snapshot_lock]))
}

/// Returns the name of a file or folder that a machine with so many processors has for itself.
fn of_processors(name: &str, processors: u32) -> String {
    if processors == 1 { name.to_owned() } else { format!("{name}-{processors}-processors") }
}

fn qemu_state(qemu: &Qemu) -> State {
    cache::state(qemu.dir(), &Qemu::key())
}

fn ovmf_state(ovmf: &Ovmf) -> State {
    cache::state(ovmf.dir(), &Ovmf::key())
}

/// Unpacks qemu and the firmware, where they are not as they must be.
fn make_qemu(qemu: &Qemu, ovmf: &Ovmf, work: &Path, say: &(dyn Fn(&str) + Sync)) -> Result<(), RigError> {
    let scratch = WorkDir::new(work)?;
    let scratch = scratch.path();
    host::check_space(scratch, "the rig's files", SPACE_MIB)?;
    host::install_programs(scratch, say)?;
    let state = qemu_state(qemu);
    if state != State::Good {
        let archive = host::archive(Release::Xen417, scratch)?;
        timed(say, "qemu", &state, || {
            cache::make(qemu.dir(), &Qemu::key(), |part| Qemu::make(part, &archive, scratch, say))
        })?;
    }
    let state = ovmf_state(ovmf);
    if state != State::Good {
        let archive = host::archive(Release::Xen414, scratch)?;
        timed(say, "OVMF", &state, || {
            cache::make(ovmf.dir(), &Ovmf::key(), |part| Ovmf::make(part, &archive, scratch))
        })?;
    }
    Ok(())
}

struct Steps {
    release: Release,
    processors: u32,
    qemu: Qemu,
    ovmf: Ovmf,
    dom0: Dom0,
    snapshot: PathBuf,
    work: PathBuf,
}

impl Steps {
    fn snapshot_key(&self) -> Result<Key, RigError> {
        let (qemu, dom0) = (cache::stamp(self.qemu.dir())?, cache::stamp(self.dom0.dir())?);
        let machine = Machine::fingerprint(self.processors);
        let mut inputs: Vec<&[u8]> = vec![&qemu, &dom0, machine.as_bytes()];
        for (name, text) in &SCRIPTS {
            inputs.extend([name.as_bytes(), text.as_bytes()]);
        }
        Ok(Key::of(&inputs))
    }

    fn snapshot_state(&self) -> State {
        match self.snapshot_key() {
            Ok(key) => cache::state(&self.snapshot, &key),
            Err(_) => State::Stale,
        }
    }

    fn dom0_state(&self) -> State {
        cache::state(self.dom0.dir(), &self.dom0.key())
    }

    /// Returns a folder to make files in, where there is room and the programs for it are.
    fn scratch(&self, base: &Path, say: &(dyn Fn(&str) + Sync)) -> Result<WorkDir, RigError> {
        host::check_space(base, "the rig's files", SPACE_MIB)?;
        let scratch = WorkDir::new(&self.work)?;
        host::install_programs(scratch.path(), say)?;
        Ok(scratch)
    }

    /// Makes dom0's files, where they are not as they must be.
    fn make_dom0(&self, base: &Path, say: &(dyn Fn(&str) + Sync)) -> Result<(), RigError> {
        let state = self.dom0_state();
        if state == State::Good {
            return Ok(());
        }
        let scratch = self.scratch(base, say)?;
        let archive = host::archive(self.release, scratch.path())?;
        timed(say, "dom0", &state, || {
            cache::make(self.dom0.dir(), &self.dom0.key(), |part| {
                self.dom0.make(part, &archive, scratch.path(), say)
            })
        })
    }

    /// Makes the snapshot, where it is not as it must be.
    fn make_snapshot(&self, base: &Path, say: &(dyn Fn(&str) + Sync)) -> Result<(), RigError> {
        let state = self.snapshot_state();
        if state == State::Good {
            return Ok(());
        }
        let scratch = self.scratch(base, say)?;
        timed(say, "snapshot", &state, || {
            cache::make(&self.snapshot, &self.snapshot_key()?, |part| {
                self.boot_and_save(part, scratch.path(), say)
            })
        })
    }

    fn boot_and_save(
        &self,
        part: &Path,
        scratch: &Path,
        say: &(dyn Fn(&str) + Sync),
    ) -> Result<Vec<&'static str>, RigError> {
        let (initramfs, memory) = (part.join(INITRAMFS), part.join(MEMORY));
        fs::write(&initramfs, self.dom0.initramfs(&SCRIPTS)?).file("write", &initramfs)?;
        say("snapshot: booting Xen and dom0");
        let machine = Machine {
            dom0: &self.dom0,
            processors: self.processors,
            initramfs: &initramfs,
            memory: &memory,
            write_memory: true,
            job: Drive::Empty,
            results: Drive::Empty,
            guest: Vec::new(),
        };
        let mut live = Live::start(&self.qemu, &machine, scratch, false)?;
        live.wait_for("ready", "booting dom0", BOOT_LIMIT)?;
        live.wait_for_shell("starting its shell", BOOT_LIMIT)?;
        let console = fs::read(live.console()).file("read", live.console())?;
        if String::from_utf8_lossy(&console).contains("RIG FAILED") {
            return Err(RigError::BadResults {
                reason: format!("dom0 came up in part:\n{}", live.context()),
            });
        }
        say("snapshot: saving");
        live.save(&part.join(STATE))?;
        Ok(vec![INITRAMFS, MEMORY, STATE])
    }
}

/// Runs a step and says why and how long.
fn timed<T>(
    say: &(dyn Fn(&str) + Sync),
    name: &str,
    state: &State,
    step: impl FnOnce() -> Result<T, RigError>,
) -> Result<T, RigError> {
    say(&format!("{name}: {state}; making it"));
    let start = Instant::now();
    let result = step()?;
    say(&format!("{name}: made in {:.0} s", start.elapsed().as_secs_f32()));
    Ok(result)
}

/// A lock on some of the rig's files: shared by runs, held alone by a setup that changes something.
struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    fn new(path: PathBuf) -> Result<Self, RigError> {
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).file("open", &path)?;
        Ok(Self { file, path })
    }

    /// Returns with the lock shared and the files good; makes them with the lock held alone.
    fn until(
        &self,
        good: impl Fn() -> bool,
        make: impl Fn() -> Result<(), RigError>,
        say: &(dyn Fn(&str) + Sync),
    ) -> Result<(), RigError> {
        loop {
            self.shared(say)?;
            if good() {
                return Ok(());
            }
            self.exclusive(say)?;
            make()?;
        }
    }

    fn shared(&self, say: &(dyn Fn(&str) + Sync)) -> Result<(), RigError> {
        self.wait(say, File::try_lock_shared)
    }

    fn exclusive(&self, say: &(dyn Fn(&str) + Sync)) -> Result<(), RigError> {
        self.file.unlock().file("unlock", &self.path)?;
        self.wait(say, File::try_lock)
    }

    fn wait(
        &self,
        say: &(dyn Fn(&str) + Sync),
        lock: impl Fn(&File) -> Result<(), TryLockError>,
    ) -> Result<(), RigError> {
        let start = Instant::now();
        let mut told = false;
        loop {
            match lock(&self.file) {
                Ok(()) => return Ok(()),
                Err(TryLockError::Error(source)) => {
                    return Err(RigError::File { what: "lock", path: self.path.clone(), source });
                }
                Err(TryLockError::WouldBlock) if start.elapsed() > LOCK_LIMIT => {
                    return Err(RigError::InUse { path: self.path.clone() });
                }
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        say("waiting for another process that uses the rig");
                        told = true;
                    }
                    thread::sleep(Duration::from_millis(200));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_of_other_processors_are_apart() {
        for release in Release::ALL {
            for what in ["snapshot", "lock-snapshot"] {
                let name = release.folder(what);
                assert_eq!(of_processors(&name, 1), name);
                assert_eq!(of_processors(&name, 2), format!("{name}-2-processors"));
            }
        }
    }
}
