//! One configuration.

use std::fmt::Write as _;

use guard::backing;
use guard::census::{self, Identity, Listed, Own, Pair, Signature, Signing};
use guard::decision::PvDisks;
use survey::Failure;
use xen::blkif::XenbusDevice;
use xen::fake::Tree;

use crate::Random;

/// The domain that is looked at.
const GUEST: u32 = 7;

/// Storage behind a vbd.
#[derive(Clone, Debug)]
struct Storage {
    /// Its names in its domain, each of which a toolstack may write: the first is its own, the others are the same by
    /// the rules of `guard::backing`.
    names: Vec<String>,
    /// A link to it, that no rule connects with it.
    link: String,
    /// Its device's numbers, where it is one.
    number: Option<String>,
    /// Domain that has it.
    domain: u16,
    /// Number of its content: clones have the same.
    content: u32,
    /// The storage that it is a partition of.
    disk: Option<usize>,
    kind: Kind,
}

/// The kind of a storage, on which its names depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Volume,
    /// A logical volume whose name ends as a partition's does.
    DashedVolume,
    Multipath,
    Scsi,
    /// A device that is known by a link of udev's.
    Linked,
}

/// The program that serves a vbd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Blkback,
    Tapdisk,
    Qdisk,
}

/// The kind of name that a storage was given by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    Name,
    Link,
}

/// A vbd's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Folder {
    Whole,
    /// One that was left, without a backend.
    Stale,
}

#[derive(Clone, Debug)]
struct Vbd {
    number: u32,
    /// Disk and partition that the number stands for.
    place: (u32, u32),
    storage: usize,
    server: Server,
    naming: Naming,
    folder: Folder,
    cdrom: bool,
    writable: bool,
    mode: &'static str,
    state: u32,
    online: bool,
    params: String,
    physical: Option<String>,
    physical_path: Option<String>,
}

impl Vbd {
    /// Returns true for a disk that libxl has qemu emulate: the first four by their places, and each sd.
    fn has_twin(&self) -> bool {
        !self.cdrom && (self.place.0 < 4 || self.number >> 8 == 8)
    }
}

/// A guest's disks.
#[derive(Clone, Debug)]
pub struct Machine {
    storages: Vec<Storage>,
    vbds: Vec<Vbd>,
    /// Disks that the toolstack emulates without a vbd.
    emulated_only: u8,
    /// The firmware is a BIOS.
    bios: bool,
}

/// A right answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// PV.
    Ready,
    /// Emulated, for one of the decision's reasons.
    Emulated(&'static str),
}

impl Seen {
    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Seen::Ready => "ready",
            Seen::Emulated(reason) => reason,
        }
    }
}

impl Machine {
    /// Makes one.
    pub fn random(random: &mut Random) -> Machine {
        let mut storages: Vec<_> = (0..1 + random.below(4)).map(|n| storage(random, n)).collect();
        for disk in 0..storages.len() {
            if storages[disk].number.is_some() && random.once_in(4) {
                let partition = partition(random, disk, &storages[disk]);
                storages.push(partition);
            }
        }
        let mut vbds: Vec<Vbd> = Vec::new();
        for _ in 0..random.below(6) {
            // The first ones mostly have one each.
            let own = vbds.len() < storages.len() && !random.once_in(6);
            let at = if own { vbds.len() } else { random.below(storages.len()) };
            let vbd = vbd(random, at, &storages[at]);
            if vbds.iter().all(|other| other.number != vbd.number) {
                vbds.push(vbd);
            }
        }
        let emulated_only = if random.once_in(8) { 1 } else { 0 };
        Machine { storages, vbds, emulated_only, bios: !random.once_in(4) }
    }

    /// Returns the nodes, one a line.
    pub fn nodes(&self) -> String {
        let mut text = String::new();
        for (path, value) in self.tree().snapshot() {
            let _ = writeln!(text, "  {path} = {}", String::from_utf8_lossy(&value));
        }
        text
    }

    /// Has the guard's code look at the nodes, and compares.
    ///
    /// # Errors
    /// What differs from what the machine knows.
    pub fn check(&self) -> Result<Seen, String> {
        let mut tree = self.tree();
        let before = tree.snapshot();
        let answer = survey::survey(&mut tree, || self.firmware());
        if tree.snapshot() != before {
            return Err("the survey has written".to_owned());
        }
        let seen = self.judge(answer)?;
        self.connect(&mut tree)?;
        Ok(seen)
    }

    /// Returns the number of disks that the BIOS found.
    fn firmware(&self) -> Option<u8> {
        let mut places: Vec<_> = self.emulated().map(|vbd| vbd.place.0).collect();
        places.sort_unstable();
        places.dedup();
        self.bios.then_some(places.len() as u8 + self.emulated_only)
    }

    /// Returns the disks that have an emulated twin.
    fn emulated(&self) -> impl Iterator<Item = &Vbd> {
        self.disks().filter(|vbd| vbd.place.0 < 4 && vbd.place.1 == 0)
    }

    fn whole(&self) -> impl Iterator<Item = &Vbd> {
        self.vbds.iter().filter(|vbd| vbd.folder == Folder::Whole)
    }

    fn disks(&self) -> impl Iterator<Item = &Vbd> {
        self.whole().filter(|vbd| !vbd.cdrom)
    }

    /// Returns true if two vbds are two ways to one storage of which one may write, and their nodes have a
    /// name or a number in common, or the names or numbers of a disk and its partition.
    fn told_shared(&self, one: &Vbd, other: &Vbd) -> bool {
        let (name, link, number) = self.handles(one);
        let theirs = self.handles(other);
        let same = one.storage == other.storage;
        // Of the numbers only a SCSI disk's tell a partition.
        let numbered = same || self.storages[one.storage].kind == Kind::Scsi;
        self.are_shared(one, other)
            && (name && theirs.0 || same && link && theirs.1 || numbered && number && theirs.2)
    }

    /// Returns which handles on its storage a vbd's nodes tell: its name, the link's name, its number.
    fn handles(&self, vbd: &Vbd) -> (bool, bool, bool) {
        let named = vbd.naming == Naming::Name || vbd.physical_path.is_some();
        let says_number = self.storages[vbd.storage].kind == Kind::Scsi;
        (named, vbd.naming == Naming::Link, vbd.physical.is_some() || named && says_number)
    }

    fn are_shared(&self, one: &Vbd, other: &Vbd) -> bool {
        let disk = |vbd: &Vbd| self.storages[vbd.storage].disk;
        let same = one.storage == other.storage
            || disk(one) == Some(other.storage)
            || disk(other) == Some(one.storage);
        same && (one.writable || other.writable)
    }

    /// Holds the survey's answer against the machine.
    fn judge(&self, answer: Result<PvDisks, Failure>) -> Result<Seen, String> {
        let whole: Vec<_> = self.whole().collect();
        let pairs = || {
            whole.iter().enumerate().flat_map(|(at, one)| whole[at + 1..].iter().map(move |two| (*one, *two)))
        };
        let told = || pairs().filter(|(one, two)| self.told_shared(one, two));
        // An emulated boot would mount both of such a pair, and a PV boot connects one.
        let told = told().next().is_some() && !told().any(|(one, two)| one.has_twin() && two.has_twin());
        let ready = |vbd: &Vbd| matches!(vbd.state, 2..=4) || matches!(vbd.state, 5 | 6) && vbd.online;
        let disks = self.disks().count();
        let boot = self.emulated().any(|vbd| vbd.place.0 == 0)
            || self.bios && self.emulated_only == 0 && self.emulated().next().is_some();
        let expected = match () {
            () if told => Seen::Emulated("shared"),
            () if disks == 0 => Seen::Emulated("no disk"),
            () if !boot => Seen::Emulated("boot disk missing"),
            () if !self.disks().all(ready) => Seen::Emulated("backend not ready"),
            () => Seen::Ready,
        };
        let seen = match answer {
            Ok(PvDisks::Ready(count)) if count as usize == disks => Seen::Ready,
            Ok(PvDisks::None) => Seen::Emulated("no disk"),
            Ok(PvDisks::BootDiskMissing) => Seen::Emulated("boot disk missing"),
            Err(Failure::Backend { .. }) => Seen::Emulated("backend not ready"),
            Err(Failure::Shared { devices }) => {
                let truly = pairs().any(|(one, two)| {
                    self.are_shared(one, two)
                        && devices.contains(&one.number)
                        && devices.contains(&two.number)
                });
                if !truly {
                    return Err(format!("{devices:?} share nothing"));
                }
                Seen::Emulated("shared")
            }
            other => return Err(format!("answered {other:?}, expected {expected:?}")),
        };
        if seen == expected { Ok(seen) } else { Err(format!("answered {seen:?}, expected {expected:?}")) }
    }

    /// Connects the vbds one after the other, as xenvbd does at the start and as they are attached: no two ways to one
    /// storage may be shown that anything tells, and no vbd may be refused that has a storage of its own, but for a
    /// clone where nothing tells it from its original.
    fn connect(&self, tree: &mut Tree) -> Result<(), String> {
        let mut shown: Vec<(&Vbd, Own)> = Vec::new();
        for vbd in self.whole() {
            let xenbus = XenbusDevice::open(tree, &format!("device/vbd/{}", vbd.number))
                .map_err(|e| format!("{e}"))?;
            let mut value = vec![0; 4096];
            let backing =
                survey::read_backing(tree, &xenbus, &mut value).map_err(|error| format!("{error}"))?;
            let content = self.storages[vbd.storage].content;
            // Every third content has no signature.
            let signature = (!content.is_multiple_of(3)).then_some(Signature::Mbr(content));
            let identity = signature.map(|signature| Identity { sectors: 16384, signature });
            let own = Own { identity, backing };
            let refused = shown.iter().find(|(_, other)| census::compare(&own, other) == Pair::Shared);
            match refused {
                Some((other, theirs)) => {
                    let clones = own.identity.is_some() && own.identity == theirs.identity;
                    let untold = own.backing.relation(&theirs.backing) == backing::Relation::Unknown;
                    let expected = self.are_shared(vbd, other) || (clones && untold);
                    if !expected {
                        return Err(format!("vbd {} was refused for {}", vbd.number, other.number));
                    }
                }
                None => {
                    if let Some((other, _)) = shown.iter().find(|(other, _)| self.told_shared(vbd, other)) {
                        return Err(format!("vbd {} is shown beside {}", vbd.number, other.number));
                    }
                    shown.push((vbd, own));
                }
            }
        }
        let listed: Vec<_> =
            shown.iter().map(|&(_, own)| Listed { own, signing: Signing::Found, since: 0 }).collect();
        match census::shared(&listed) {
            0 => Ok(()),
            count => Err(format!("the census counts {count} shared disks among those that were shown")),
        }
    }

    /// Returns the nodes as the toolstack and the backends write them.
    fn tree(&self) -> Tree {
        let tree = Tree::default();
        for vbd in &self.vbds {
            let front = format!("device/vbd/{}", vbd.number);
            let set = |node: &str, value: &str| tree.set(&format!("{front}/{node}"), value);
            set("state", "1");
            set("virtual-device", &vbd.number.to_string());
            if vbd.folder == Folder::Stale {
                continue;
            }
            let domain = self.storages[vbd.storage].domain;
            let folder = match vbd.server {
                Server::Blkback => "vbd",
                Server::Tapdisk => "vbd3",
                Server::Qdisk => "qdisk",
            };
            let back = format!("/local/domain/{domain}/backend/{folder}/{GUEST}/{}", vbd.number);
            set("backend", &back);
            set("backend-id", &domain.to_string());
            set("device-type", if vbd.cdrom { "cdrom" } else { "disk" });
            let set = |node: &str, value: &str| tree.set(&format!("{back}/{node}"), value);
            set("state", &vbd.state.to_string());
            set("online", if vbd.online { "1" } else { "0" });
            set("mode", vbd.mode);
            set("params", &vbd.params);
            if let Some(physical) = &vbd.physical {
                set("physical-device", physical);
            }
            if let Some(path) = &vbd.physical_path {
                set("physical-device-path", path);
            }
        }
        tree
    }
}

fn storage(random: &mut Random, n: usize) -> Storage {
    use Kind::{DashedVolume, File, Linked, Multipath, Scsi, Volume};
    let link = format!("/vm/link-{n}");
    let domain = if random.once_in(8) { 3 } else { 0 };
    let content = 1 + random.below(6) as u32;
    let kind = random.one_of(&[File, File, Volume, DashedVolume, Multipath, Scsi, Linked]);
    let mapped = Some(format!("fd:{n:x}"));
    let (names, number) = match kind {
        File => (vec![format!("/vm/d{n}.img"), format!("/vm//d{n}.img"), format!("/vm/x/../d{n}.img")], None),
        Volume => (
            vec![
                format!("/dev/vg/d{n}"),
                format!("/dev/mapper/vg-d{n}"),
                format!("/dev//vg/./d{n}"),
                format!("/dev/disk/by-id/dm-name-vg-d{n}"),
            ],
            mapped,
        ),
        // The disk that it looks like a partition of may be there, too.
        DashedVolume => (
            vec![
                format!("/dev/vg/d{}-part{}", n / 2, 1 + n % 2),
                format!("/dev/mapper/vg-d{}--part{}", n / 2, 1 + n % 2),
                format!("/dev/disk/by-id/dm-name-vg-d{}--part{}", n / 2, 1 + n % 2),
            ],
            mapped,
        ),
        Multipath => (vec![format!("/dev/mapper/mpath-d{n}"), format!("/dev/./mapper/mpath-d{n}/")], mapped),
        Scsi => {
            let letter = char::from(b'a' + n as u8);
            (vec![format!("/dev/sd{letter}"), format!("/dev/./sd{letter}")], Some(format!("8:{:x}", n * 16)))
        }
        Linked => (vec![format!("/dev/disk/by-id/d-{n}")], Some(format!("fe:{:x}", n * 16))),
    };
    Storage { names, link, number, domain, content, disk: None, kind }
}

/// Returns a partition of storage `n`, which is a device.
fn partition(random: &mut Random, n: usize, disk: &Storage) -> Storage {
    let number = 1 + random.below(3);
    // A volume's partitions are below /dev/mapper.
    let names = match disk.kind {
        Kind::Scsi => disk.names.iter().map(|name| format!("{name}{number}")).collect(),
        Kind::Volume => vec![
            format!("/dev/mapper/vg-d{n}-part{number}"),
            format!("/dev/disk/by-id/dm-name-vg-d{n}-part{number}"),
        ],
        Kind::DashedVolume => disk.names[1..].iter().map(|name| format!("{name}-part{number}")).collect(),
        Kind::File | Kind::Multipath | Kind::Linked => vec![format!("{}-part{number}", disk.names[0])],
    };
    let device = match disk.kind {
        Kind::Scsi => format!("8:{:x}", n * 16 + number),
        Kind::Linked => format!("fe:{:x}", n * 16 + number),
        _ => format!("fd:{:x}", 0x40 + n),
    };
    Storage {
        names,
        link: format!("/vm/link-{n}-{number}"),
        number: Some(device),
        domain: disk.domain,
        content: 7 + n as u32,
        disk: Some(n),
        kind: disk.kind,
    }
}

fn vbd(random: &mut Random, at: usize, storage: &Storage) -> Vbd {
    let cdrom = random.once_in(6);
    let server = match &storage.number {
        None => Server::Qdisk,
        Some(_) => random.one_of(&[Server::Blkback, Server::Blkback, Server::Tapdisk, Server::Qdisk]),
    };
    let naming = if random.once_in(8) { Naming::Link } else { Naming::Name };
    let name = match naming {
        Naming::Name => storage.names[random.below(storage.names.len())].clone(),
        Naming::Link => storage.link.clone(),
    };
    let format = random.one_of(&["aio:", "raw:", "qcow2:", "vhd:", ""]);
    let kernel = server != Server::Qdisk;
    let params = if kernel { name } else { format!("{format}{name}") };
    let physical = storage.number.clone().filter(|_| kernel);
    let physical_path = (physical.is_some() && random.once_in(2)).then(|| storage.names[0].clone());
    let disk = random.one_of(&[0, 0, 0, 1, 1, 2, 3, 4, 5, 9, 20]);
    let partition = if random.once_in(12) { 1 } else { 0 };
    let number = match random.below(3) {
        0 if disk < 2 => 3 << 8 | disk << 6 | partition,
        0 if disk < 4 => 22 << 8 | (disk - 2) << 6 | partition,
        1 if disk < 16 => 8 << 8 | disk << 4 | partition,
        _ if disk < 16 => 202 << 8 | disk << 4 | partition,
        _ => 1 << 28 | disk << 8 | partition,
    };
    let state = if random.once_in(6) { random.below(9) as u32 } else { random.one_of(&[2, 2, 2, 4]) };
    let folder = if random.once_in(12) { Folder::Stale } else { Folder::Whole };
    let writable = !cdrom && !random.once_in(5);
    let mode =
        if writable { random.one_of(&["w", "w", "w!", "rw"]) } else { random.one_of(&["r", "r", "ro"]) };
    Vbd {
        number,
        place: (disk, partition),
        storage: at,
        server,
        naming,
        folder,
        cdrom,
        writable,
        mode,
        state,
        online: !random.once_in(5),
        params,
        physical,
        physical_path,
    }
}
