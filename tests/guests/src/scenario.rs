//! The shape of a guest test: [`Scenario`], one boot, and [`Sequence`], several boots of one machine.

use guard::Reason;
use protocol::{Exercise, Fault, Ready, Word};

use crate::check::Check;

/// The machine that the guest runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// An HVM guest of real Xen, each disk also a vbd.
    Xen,
    /// qemu without Xen.
    Plain,
}

/// The program in dom0 that serves a disk's vbd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The kernel's blkback.
    Blkback,
    /// qemu's qdisk.
    Qdisk,
    /// Nobody: the disk is emulated only.
    None,
}

/// A disk of blkback's without a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raw {
    /// An ordinary one.
    Plain,
    /// The toolstack tells the guest not to trust the backend.
    Untrusted,
    /// On a loop device with blocks of 4 KiB.
    Blocks4096,
    /// On a loop device over a file in dom0's memory, in which holes can be made.
    Discard,
    /// The same file behind qdisk.
    QdiskDiscard,
    /// Read-only.
    ReadOnly,
}

/// Returns the number of the vbd that is a guest's disk in this place: 0 is xvda. Each of the first 16 has 16 numbers of
/// major 202, each further one 256 (xen-vbd-interface(7)).
pub const fn xvd(place: u32) -> u32 {
    if place < 16 { 202 << 8 | place << 4 } else { 1 << 28 | place << 8 }
}

impl Raw {
    /// Returns the place of the scenario's `n`th disk of these, from 0, among a guest's: 1 is xvdb. libxl emulates xvdb to
    /// xvdd, too. An IDE disk of qemu's cannot be read-only, and has blocks of 512 bytes.
    pub fn place(self, n: usize) -> usize {
        if matches!(self, Self::ReadOnly | Self::Blocks4096) { n.max(3) + 1 } else { n + 1 }
    }
}

/// The entry of boot.ini that is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The first entry, as installed.
    Emulated,
    /// The second entry, as `bootcfg add` makes it.
    Pv,
    /// A third entry with these switches.
    Switches(&'static str),
    /// The entry of this number of a boot.ini that the program `bootcfg` edited on a FAT volume.
    Fat(u32),
    /// The one that is started where nobody chooses.
    Default,
}

/// The way that the system comes into the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The host gives the loader its files, by multiboot: fast.
    Multiboot,
    /// SeaBIOS starts the first disk, which has the system volume beside its own: boot sectors, loader, boot.ini, hive
    /// and drivers. Under Xen only.
    Bios,
    /// OVMF starts the boot manager on the EFI system partition of the first disk, which has boot configuration data,
    /// hive and drivers. Under Xen only.
    Uefi,
}

/// One boot of a guest.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Name on the command line and in the output.
    pub name: &'static str,
    /// A line that says what is booted and broken.
    pub title: &'static str,
    /// The machine that the guest runs in.
    pub machine: Machine,
    /// The way that the system comes into its memory.
    pub start: Start,
    /// The entry chosen at the boot menu.
    pub entry: Entry,
    /// Changes to the registry after installation, as lines of a .reg file.
    pub registry: &'static str,
    /// A fault that the executive makes happen.
    pub fault: Option<Fault>,
    /// Files of the suite's that are gone since the installation.
    pub without: &'static [&'static str],
    /// Files of the suite's that have been damaged since the installation.
    pub damaged: &'static [&'static str],
    /// Further words of the executive's command line, before that of the fault.
    pub words: &'static [Word<'static>],
    /// Further lines of the guest's xl configuration.
    pub config: &'static [&'static str],
    /// The guest's disks: hda, hdb, ….
    pub disks: &'static [Backend],
    /// Place of the first of them: 1 where they are hdb, hdc, ….
    pub first_place: usize,
    /// Disks that dom0 may attach later: the next ones, as vbds only.
    pub late_disks: &'static [Backend],
    /// Further disks of blkback's, as vbds only, without anything on them: they share an image.
    pub blanks: usize,
    /// Further disks, as vbds only, without a volume: xvdb, xvdc, ….
    pub raw: &'static [Raw],
    /// Disks without a volume that dom0 makes itself while the system is up; those of its hostile backend go, too.
    pub visitors: usize,
    /// Vbds that `created` makes: each one's number, and the state of the guest's end while it is up.
    pub more_vbds: &'static [(u32, u32)],
    /// The guest's memory in MiB.
    pub memory_mib: u32,
    /// Processors of the guest.
    pub vcpus: u32,
    /// A longer task of the executive in a system that is up.
    pub exercise: Option<Exercise>,
    /// A command of dom0's before the guest is created.
    pub before: &'static str,
    /// A command of dom0's when the guest has been created and before it runs.
    pub created: &'static str,
    /// Commands of dom0's, each at its moment.
    pub dom0: &'static [(When, &'static str)],
    /// A CD-ROM drive with a medium, hdc.
    pub cdrom: bool,
    /// The decision, disks and end that the boot must show.
    pub expect: Expect,
    /// Reasons of which the event log gets one entry each, beyond those of [`Scenario::expect`].
    pub logged: &'static [Reason],
    /// Checks of this boot beyond [`Scenario::expect`].
    pub checks: &'static [Check],
    /// Mounts by a second guest, whose disk is the late one; 0 without such a guest.
    pub neighbour_mounts: u64,
    /// The host hears of its end in order, where PV disks are there.
    pub last_word: bool,
    /// The tests that run it.
    pub runs: Runs,
}

/// The tests that run a guest. The matrix runs every one, and by name each can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// Every `cargo xtask test`.
    Always,
    /// One of [`TURNS`] tests in a row: there are too many of them for one test.
    InTurn,
    /// No test.
    ByName,
}

/// Number of tests that together run every guest of [`Runs::InTurn`].
pub const TURNS: usize = 12;

/// The moment of a command of dom0's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// UEFI firmware has started the boot manager.
    Started,
    /// The executive has read its boot.ini.
    Booted,
    /// idefilter has decided for PV; no disk is connected.
    Decided,
    /// The executive asks for it.
    Ready(Ready),
    /// The guest goes on after a suspend.
    Resumed,
}

impl When {
    /// Returns the part of a console line that is waited for.
    pub fn line(self) -> String {
        match self {
            Self::Started => "bootmgr: started from".to_owned(),
            Self::Booted => format!("@xg {} ", protocol::Line::Boot),
            Self::Decided => "idefilter: mode=pv ".to_owned(),
            Self::Resumed => format!("@xg {} ", protocol::Line::Resumed),
            Self::Ready(what) => format!("{} for={what}", protocol::Line::Ready),
        }
    }
}

/// The result that a boot must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The guard's decision.
    pub decision: Reason,
    /// The reason for which xenpci withheld the adapter in a PV boot.
    pub withheld: Option<Reason>,
    /// Disks that arrived through the emulated controller.
    pub ide: usize,
    /// Disks that arrived through xenvbd.
    pub pv: usize,
    /// Emulated controllers taken out of the bus relations.
    pub hidden: usize,
    /// Emulated devices whose start was refused.
    pub denied: usize,
    /// Emulated CD-ROM drives whose medium could be read.
    pub cdroms: usize,
    /// CD-ROM drives that xenvbd serves, whose medium could be read.
    pub pv_cdroms: usize,
    /// Devices of idefilter's at the end beside its reserve, where PV disks are there.
    pub filters: usize,
    /// The guard's bugcheck that ends the boot: P1, P2 and P3.
    pub stop: Option<(Reason, u32, u32)>,
    /// The end of the boot if the guard does not stop it.
    pub ending: Ending,
}

impl Expect {
    /// Returns the code of a bugcheck that comes before the session manager: nothing was written to the
    /// registry, and no file to a volume.
    pub const fn ending_early(&self) -> Option<u32> {
        match self.ending {
            Ending::CrashEarly(code) => Some(code),
            _ => None,
        }
    }
}

/// The end of a boot that the guard does not stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The system is shut down.
    Shutdown,
    /// The system is shut down, and Xen tells the toolstack that it is to be started again.
    Reboot,
    /// Somebody else's bugcheck before the session manager runs (fault `early-crash`): its code.
    CrashEarly(u32),
    /// Somebody else's bugcheck with the system up (fault `late-crash`): its code.
    Crash(u32),
    /// xenpci's bugcheck, since a backend keeps a page by which memory was written.
    Kept,
    /// The power goes with the system up (fault `power-cut`).
    PowerCut,
}

/// Several boots of one machine, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Sequence {
    /// Name on the command line and in the output.
    pub name: &'static str,
    /// A line that says what is booted and broken.
    pub title: &'static str,
    /// The boots, in order.
    pub boots: &'static [Scenario],
    /// The tests that run it.
    pub runs: Runs,
}

/// Returns a boot from emulated disks for the given reason.
pub const fn emulated(decision: Reason) -> Expect {
    Expect {
        decision,
        withheld: None,
        ide: 1,
        pv: 0,
        hidden: 0,
        denied: 0,
        cdroms: 0,
        pv_cdroms: 0,
        filters: 1,
        stop: None,
        ending: Ending::Shutdown,
    }
}

/// Xen, the emulated entry, one disk through blkback.
pub const BASE: Scenario = Scenario {
    name: "",
    title: "",
    machine: Machine::Xen,
    start: Start::Multiboot,
    entry: Entry::Emulated,
    registry: "",
    fault: None,
    without: &[],
    damaged: &[],
    words: &[],
    config: &[],
    disks: &[Backend::Blkback],
    first_place: 0,
    late_disks: &[],
    blanks: 0,
    visitors: 0,
    raw: &[],
    more_vbds: &[],
    memory_mib: 128,
    vcpus: 1,
    exercise: None,
    before: "",
    created: "",
    dom0: &[],
    cdrom: false,
    expect: emulated(Reason::NotSelected),
    logged: &[],
    checks: &[],
    neighbour_mounts: 0,
    last_word: true,
    runs: Runs::Always,
};

/// One PV disk; the IDE controller is hidden.
pub const PV: Expect = Expect { ide: 0, pv: 1, hidden: 1, ..emulated(Reason::PvSelected) };

/// The PV entry, one disk through blkback.
pub const PV_BOOT: Scenario = Scenario { entry: Entry::Pv, expect: PV, ..BASE };
