//! Backings: the storage behind a vbd, as far as its backend's nodes in xenstore tell it, and the comparison of
//! two of them.
//!
//! The toolstack writes `params` (a path behind the name of a format for qdisk and tapdisk, a path or the
//! argument of a script for blkback) and `mode`; the hotplug script of a block device writes `physical-device`
//! (major and minor number of the device, hexadecimal) and `physical-device-path`. A guest may read them, and
//! nothing else of the storage. Two names for one file that no node connects, such as a symbolic link, are two
//! backings here. Of two names below `/dev` it is not known where one may be a link to the other by its folder, as
//! udev makes them, or where both are loop devices.

mod mapper;

/// The backend's nodes that [`Backing::learn`] understands.
pub const NODES: [&str; 4] = ["params", "physical-device", "physical-device-path", "mode"];

/// Names of image formats and of old device types that may stand before a path, each followed by a colon.
/// Which format a file is read as does not make it another file.
const FORMATS: [&[u8]; 16] = [
    b"aio", b"sync", b"raw", b"qcow", b"qcow2", b"qed", b"vhd", b"vhdx", b"vpc", b"vmdk", b"file", b"phy",
    b"tap", b"tap2", b"tapdisk", b"ioemu",
];

/// The program that serves a vbd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Server {
    /// A kernel that opens a block device.
    Kernel,
    /// The device model, which opens a file by its name.
    DeviceModel,
}

/// A block device's numbers in its domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Number {
    major: u32,
    minor: u32,
}

/// Most readings of a name.
const READINGS: usize = 3;

/// One meaning of a name: the hash of a file or a whole device, and the number of a partition of it (0 for the whole).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Reading {
    hash: u128,
    partition: u32,
}

/// The place of a name. A device may have a name at several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// Not below `/dev`.
    File,
    /// A disk that the kernel has named: `/dev/sda`.
    Disk,
    /// A loop device.
    Loop,
    /// Another name in `/dev` itself: `/dev/dm-3`, `/dev/md127`, `/dev/zd0`.
    Top,
    /// A folder in which each device has one name: `/dev/group/volume`, `/dev/mapper`, `/dev/zvol/pool/volume`.
    Folder,
    /// A folder of links: `/dev/disk`, `/dev/block`, `/dev/drbd/by-res`.
    Links,
}

/// A name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Name {
    /// One, or more where the name does not tell a volume from a partition.
    readings: [Option<Reading>; READINGS],
    /// It begins with a slash.
    absolute: bool,
    place: Place,
    /// The device's numbers, where its name says them.
    number: Option<Number>,
}

/// The storage behind a vbd, as far as its backend's nodes tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Backing {
    domain: u16,
    server: Server,
    number: Option<Number>,
    names: [Option<Name>; 2],
    read_only: bool,
}

/// The answer of a comparison of two backings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// One storage, or one is a part of the other.
    Same,
    /// Two storages, as far as names and numbers tell.
    Distinct,
    /// The nodes do not tell.
    Unknown,
}

impl Backing {
    /// Returns a backing of which nothing is known but the domain of its backend and the backend's path, such
    /// as `/local/domain/0/backend/qdisk/1/768`.
    #[must_use]
    pub fn new(domain: u16, backend: &str) -> Backing {
        let kind = backend.split('/').skip_while(|part| *part != "backend").nth(1);
        let server = if kind == Some("qdisk") { Server::DeviceModel } else { Server::Kernel };
        Backing { domain, server, number: None, names: [None; 2], read_only: false }
    }

    /// Takes in the value of one of [`NODES`]; what cannot be understood is not known.
    pub fn learn(&mut self, node: &str, value: &[u8]) {
        match node {
            "params" => self.names[0] = Name::parse(value, self.server),
            "physical-device-path" => self.names[1] = Name::parse(value, self.server),
            "physical-device" => self.number = Number::parse(value),
            // blkback lets the guest write wherever there is a `w`; of what says neither, nothing is known.
            "mode" => self.read_only = value.first() == Some(&b'r') && !value.contains(&b'w'),
            _ => {}
        }
    }

    /// Returns true if the toolstack lets the guest only read.
    #[must_use]
    pub const fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Compares the storages, whatever may be done with them.
    #[must_use]
    pub fn relation(&self, other: &Backing) -> Relation {
        // Names and numbers mean something within a domain only; another may have imported the same storage.
        if self.domain != other.domain {
            return Relation::Unknown;
        }
        let number = self.numbers().any(|a| other.numbers().any(|b| a.overlaps(b)));
        let name = self.names().any(|a| other.names().any(|b| a.overlaps(b)));
        if number || name {
            return Relation::Same;
        }
        if self.is_told_from(other) { Relation::Distinct } else { Relation::Unknown }
    }

    /// Returns true if this has something in common with what was at its place before, and something else has changed: a
    /// name that stands for another device now, or a loop device with another file behind it.
    #[must_use]
    pub fn contradicts(&self, before: &Backing) -> bool {
        if self.relation(before) != Relation::Same {
            return false;
        }
        let named = self.names().any(|a| before.names().any(|b| a.overlaps(b)));
        match (self.number, before.number) {
            (Some(now), Some(then)) if now != then => true,
            (Some(number), Some(_)) => {
                number.is_loop() && !named && self.names().next().is_some() && before.names().next().is_some()
            }
            _ => false,
        }
    }

    /// Returns true if two backings that have no name and no number in common are two: there is something of
    /// the same sort to compare.
    fn is_told_from(&self, other: &Backing) -> bool {
        let named = self.names().any(|a| other.names().any(|b| a.is_told_from(b)));
        match (self.server, other.server) {
            // Two loop devices may have one file behind them.
            (Server::Kernel, Server::Kernel) => match (self.number, other.number) {
                (Some(a), Some(b)) => !(a.is_loop() && b.is_loop()) || named,
                _ => named,
            },
            (Server::DeviceModel, Server::DeviceModel) => named,
            (Server::Kernel, Server::DeviceModel) => other.is_file_beside(self),
            (Server::DeviceModel, Server::Kernel) => self.is_file_beside(other),
        }
    }

    /// Returns true if this is a file by its name, and `kernel` a device that is no loop device over a file.
    fn is_file_beside(&self, kernel: &Backing) -> bool {
        let file = self.names().next().is_some_and(|name| name.absolute && name.place == Place::File);
        file && kernel.number.is_some_and(|number| !number.is_loop())
    }

    fn numbers(&self) -> impl Iterator<Item = Number> + Clone {
        let named = self.names().filter_map(|name| name.number);
        self.number.into_iter().chain(named)
    }

    fn names(&self) -> impl Iterator<Item = &Name> + Clone {
        self.names.iter().flatten()
    }
}

impl Number {
    /// Majors of SCSI disks (Linux, devices.txt), with 16 minors each.
    const SD: [u32; 16] = [8, 65, 66, 67, 68, 69, 70, 71, 128, 129, 130, 131, 132, 133, 134, 135];
    /// Majors of old IDE disks, with 64 minors each.
    const HD: [u32; 10] = [3, 22, 33, 34, 56, 57, 88, 89, 90, 91];
    /// Major of Xen's own disks, with 16 minors each.
    const XVD: u32 = 202;
    /// Major of loop devices.
    const LOOP: u32 = 7;

    /// Parses `fe:30`, hexadecimal.
    fn parse(value: &[u8]) -> Option<Number> {
        let (major, minor) = core::str::from_utf8(value).ok()?.trim().split_once(':')?;
        let number = |digits: &str| u32::from_str_radix(digits, 16).ok();
        Some(Number { major: number(major)?, minor: number(minor)? })
    }

    const fn is_loop(self) -> bool {
        self.major == Self::LOOP
    }

    /// Returns the number of minors that a disk of this major has, its partitions among them.
    fn minors(self) -> u32 {
        match self.major {
            major if Self::SD.contains(&major) || major == Self::XVD => 16,
            major if Self::HD.contains(&major) => 64,
            _ => 1,
        }
    }

    /// Returns true if one is the other, or a partition of it.
    fn overlaps(self, other: Number) -> bool {
        let (minors, same) = (self.minors(), self.minor == other.minor);
        let disk = self.minor / minors == other.minor / minors;
        let whole = self.minor.is_multiple_of(minors) || other.minor.is_multiple_of(minors);
        self.major == other.major && (same || disk && whole)
    }
}

impl Name {
    /// Returns a name as `params` has it; `None` for that of no medium.
    fn parse(value: &[u8], server: Server) -> Option<Name> {
        let text = without_formats(value);
        if text.is_empty() {
            return None;
        }
        let absolute = text[0] == b'/';
        let path = match server {
            _ if absolute => Path::new(None, text),
            // xl and xm look for a device below /dev; a script makes of it what it likes, the same each time.
            Server::Kernel => Path::new(Some(b"dev"), text),
            // In the device model's own directory, or no file at all.
            Server::DeviceModel => Path::new(Some(b"."), text),
        };
        Some(Name { readings: path.readings(), absolute, place: path.place(), number: path.number() })
    }

    /// Returns true if one may be the other, or a partition of it.
    fn overlaps(&self, other: &Name) -> bool {
        self.readings().any(|a| other.readings().any(|b| a.overlaps(b)))
    }

    /// Returns true if two names without a reading in common are names of two devices.
    fn is_told_from(&self, other: &Name) -> bool {
        use Place::{Disk, File, Folder, Links, Loop, Top};
        let told = match (self.place, other.place) {
            // There may be a file behind it.
            (Loop, Loop | File) | (File, Loop) => false,
            (Links, File) | (File, Links) => true,
            // The one may lead to the other.
            (Links, _) | (_, Links) | (Top, Folder) | (Folder, Top) => false,
            (File | Disk | Loop | Top | Folder, _) => true,
        };
        let of_one = self.readings().any(|a| other.readings().any(|b| a.is_beside(b)));
        self.absolute && other.absolute && (told || of_one)
    }

    fn readings(&self) -> impl Iterator<Item = Reading> {
        self.readings.iter().copied().flatten()
    }
}

impl Reading {
    /// Returns true if one is the other, or a partition of it.
    fn overlaps(self, other: Reading) -> bool {
        let whole = self.partition == 0 || other.partition == 0;
        self.hash == other.hash && (whole || self.partition == other.partition)
    }

    /// Returns true if they are two partitions of one disk.
    fn is_beside(self, other: Reading) -> bool {
        self.hash == other.hash && !self.overlaps(other)
    }
}

/// Returns the text behind the formats that stand before it.
fn without_formats(mut text: &[u8]) -> &[u8] {
    while let Some(rest) = FORMATS.iter().find_map(|format| text.strip_prefix(*format)?.strip_prefix(b":")) {
        text = rest;
    }
    text
}

/// Most parts of a path that is taken apart; a longer one counts as its first parts and the last.
const DEEPEST: usize = 64;

/// Prefix that udev puts before the name of a device below `/dev/mapper`.
const DM_NAME: &[u8] = b"dm-name-";

/// An absolute path without empty parts, `.` and `..`.
struct Path<'a> {
    parts: [&'a [u8]; DEEPEST],
    length: usize,
}

impl<'a> Path<'a> {
    /// Returns a path below `root`, or below the root of all.
    fn new(root: Option<&'a [u8]>, text: &'a [u8]) -> Path<'a> {
        let mut path = Path { parts: [&[]; DEEPEST], length: 0 };
        if let Some(root) = root {
            (path.parts[0], path.length) = (root, 1);
        }
        for part in text.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => path.length = path.length.saturating_sub(1),
                part => {
                    path.length = (path.length + 1).min(DEEPEST);
                    path.parts[path.length - 1] = part;
                }
            }
        }
        path
    }

    fn parts(&self) -> &[&'a [u8]] {
        &self.parts[..self.length]
    }

    fn last(&self) -> &'a [u8] {
        self.parts().last().copied().unwrap_or_default()
    }

    /// Returns the readings, by the rules of the folder that it is in.
    fn readings(&self) -> [Option<Reading>; READINGS] {
        let whole = Reading { hash: self.hash_with(self.last()), partition: 0 };
        let part = |disk, partition| Reading { hash: self.hash_with(disk), partition };
        match *self.parts() {
            [b"dev", b"mapper", name] => mapper::readings(name),
            [b"dev", name] => {
                let partition = kernel_partition(name).map(|(disk, partition)| part(disk, partition));
                [Some(partition.unwrap_or(whole)), None, None]
            }
            [b"dev", b"disk", b"by-id", name] if name.starts_with(DM_NAME) => {
                mapper::readings(&name[DM_NAME.len()..])
            }
            [b"dev", b"disk" | b"zvol" | b"rbd", .., name] => {
                let (stem, number) = trailing_number(name);
                let partition = stem
                    .strip_suffix(b"-part")
                    .zip(number)
                    .map(|(disk, number)| part(disk, number))
                    .or_else(|| self.mapped_partition());
                [Some(whole), partition, None]
            }
            _ => [Some(whole), None, None],
        }
    }

    fn place(&self) -> Place {
        match *self.parts() {
            [b"dev", name] => match kernel_partition(name).map_or(name, |(disk, _)| disk) {
                disk if has_number(disk, b"loop") => Place::Loop,
                disk if is_lettered(disk) => Place::Disk,
                disk if [&b"nvme"[..], b"mmcblk", b"nbd"].iter().any(|prefix| has_number(disk, prefix)) => {
                    Place::Disk
                }
                _ => Place::Top,
            },
            [b"dev", b"disk", b"by-id", name] if name.starts_with(DM_NAME) => Place::Folder,
            [b"dev", b"disk" | b"block", ..] => Place::Links,
            [b"dev", _, ref folders @ .., _] if folders.iter().any(|folder| folder.starts_with(b"by-")) => {
                Place::Links
            }
            [b"dev", ..] => Place::Folder,
            _ => Place::File,
        }
    }

    /// Returns the reading of `dm-uuid-part1-disk` as a partition of `dm-uuid-disk`.
    fn mapped_partition(&self) -> Option<Reading> {
        let behind = self.last().strip_prefix(b"dm-uuid-part")?;
        let at = behind.iter().position(|byte| *byte == b'-')?;
        let (b"", Some(partition)) = trailing_number(&behind[..at]) else { return None };
        let mut hash = Hash(self.hash_with(b"dm-uuid"));
        behind[at..].iter().for_each(|&byte| hash.byte(byte));
        Some(Reading { hash: hash.0, partition })
    }

    /// Returns the hash of the path with another last part.
    fn hash_with(&self, last: &[u8]) -> u128 {
        let mut hash = Hash::of(&self.parts()[..self.length.saturating_sub(1)]);
        hash.part(last);
        hash.0
    }

    /// Returns the numbers of a device whose name says them: `/dev/loop3`, `/dev/sdb1`, `/dev/block/253:4`.
    fn number(&self) -> Option<Number> {
        let decimal = |digits: &[u8]| core::str::from_utf8(digits).ok()?.parse().ok();
        match *self.parts() {
            [b"dev", b"block", numbers] => {
                let colon = numbers.iter().position(|byte| *byte == b':')?;
                let (major, minor) = numbers.split_at(colon);
                Some(Number { major: decimal(major)?, minor: decimal(&minor[1..])? })
            }
            [b"dev", name] => {
                if let Some(minor) = name.strip_prefix(b"loop").and_then(decimal) {
                    return Some(Number { major: Number::LOOP, minor });
                }
                let (disk, partition) = kernel_partition(name).unwrap_or((name, 0));
                match disk.strip_prefix(b"sd")? {
                    [letter @ b'a'..=b'p'] if partition < 16 => Some(Number {
                        major: Number::SD[0],
                        minor: u32::from(letter - b'a') * 16 + partition,
                    }),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// Returns the disk and the number of a partition by the kernel's names: `sda1`, `nvme0n1p2`.
fn kernel_partition(name: &[u8]) -> Option<(&[u8], u32)> {
    let (stem, number) = trailing_number(name);
    if is_lettered(stem) {
        return number.map(|number| (stem, number));
    }
    let disk = stem.strip_suffix(b"p").filter(|disk| disk.last().is_some_and(u8::is_ascii_digit))?;
    let numbered =
        [&b"nvme"[..], b"mmcblk", b"loop", b"nbd", b"md"].iter().any(|prefix| disk.starts_with(prefix));
    number.filter(|_| numbered).map(|number| (disk, number))
}

/// Returns true for a disk that the kernel names by letters: `sda`.
fn is_lettered(disk: &[u8]) -> bool {
    [&b"sd"[..], b"hd", b"vd", b"xvd"].iter().any(|prefix| {
        disk.strip_prefix(*prefix)
            .is_some_and(|letters| !letters.is_empty() && letters.iter().all(u8::is_ascii_lowercase))
    })
}

/// Returns true if a digit stands behind the prefix.
fn has_number(name: &[u8], prefix: &[u8]) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
}

/// Returns a name without the decimal number at its end, and that number, without a leading zero.
fn trailing_number(name: &[u8]) -> (&[u8], Option<u32>) {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (stem, digits) = name.split_at(name.len() - digits);
    let number = core::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    (stem, number.filter(|&number: &u32| number > 0 && !digits.starts_with(b"0")))
}

/// FNV-1a of 128 bits, over the parts of a path.
struct Hash(u128);

impl Default for Hash {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Hash {
    fn of(parts: &[&[u8]]) -> Hash {
        let mut hash = Hash::default();
        parts.iter().for_each(|part| hash.part(part));
        hash
    }

    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013B);
    }

    fn part(&mut self, part: &[u8]) {
        self.byte(b'/');
        part.iter().for_each(|&byte| self.byte(byte));
    }

    /// Adds a slash, and a part in which each dash is written twice.
    fn undashed(&mut self, part: &[u8]) {
        self.byte(b'/');
        let mut doubled = false;
        for &byte in part {
            doubled = byte == b'-' && !doubled;
            if !doubled {
                self.byte(byte);
            }
        }
    }
}

#[cfg(test)]
mod tests;
