//! Domains that use the disk of a mounted volume, as far as this host can tell.
//!
//! A volume that is edited while its guest runs is destroyed: both write, and neither knows of the other. Two kinds of
//! users can be seen. blkback shows in sysfs which device it serves (`/sys/bus/xen-backend/devices/vbd-<domain>-<disk>`:
//! `physical_device`, major and minor number in hexadecimal; Linux, drivers/block/xen-blkback/xenbus.c). Emulators and
//! tapdisk are processes that have the device or the image's file open. A host that serves the disk to another one
//! cannot tell.
//!
//! A disk is followed down to the files and devices of this host that it is on. Of a network block device that is what its
//! server has open (`/sys/block/nbd<n>/pid`; Linux, drivers/block/nbd.c). Below a device of another kind there may be
//! anything, so that nothing can be told.
//!
//! A device that is served is followed down, too: one image may be behind two loop devices. A mapped device is not, since
//! two volumes of one group share their disk.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use super::boot_sector;

/// The domains that use a volume's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InUse {
    /// These do.
    By(Vec<String>),
    /// None of this host is seen to.
    No,
    /// It cannot be told, and why.
    Unknown(String),
}

/// Starts of the names of programs that serve disks to domains. qemu-nbd is not among them: it serves this host.
const SERVERS: [&str; 3] = ["qemu-system-", "qemu-dm", "tapdisk"];

/// Beginnings of the names of devices that are disks of this host, or that have what they are on in sysfs.
const LOCAL: [&str; 13] =
    ["sd", "hd", "vd", "xvd", "nvme", "mmcblk", "md", "dm-", "zd", "drbd", "sr", "pmem", "loop"];

/// Devices and files that a volume is on.
#[derive(Debug, Default)]
struct Backing {
    /// Major and minor numbers.
    devices: BTreeSet<(u32, u32)>,
    /// Device and inode numbers of images.
    files: BTreeSet<(u64, u64)>,
    /// Reason why something below these is not known.
    hidden: Option<String>,
}

impl InUse {
    /// Looks for users of the disk of the volume that is mounted at `root`.
    #[must_use]
    pub fn of_volume(root: &Path) -> InUse {
        let Some(source) = boot_sector::source_of(root) else {
            return InUse::Unknown("it is not mounted from a device or an image of this host".to_owned());
        };
        InUse::of_source(Path::new(&source), Path::new("/sys"), Path::new("/proc"))
    }

    /// Looks for users of a device or an image, in these trees of the system.
    #[must_use]
    pub fn of_source(source: &Path, sys: &Path, proc: &Path) -> InUse {
        let mut backing = Backing::default();
        if let Err(error) = backing.add(source, sys, proc) {
            return InUse::Unknown(format!("{}: {error}", source.display()));
        }
        backing.users(sys, proc)
    }
}

impl Backing {
    /// Looks for users of these devices and files.
    fn users(&self, sys: &Path, proc: &Path) -> InUse {
        let (mut users, unseen) = served(self, sys, proc);
        let why = match processes(self, sys, proc) {
            Ok((found, unknown)) => {
                users.extend(found);
                unknown.into_iter().next()
            }
            Err(error) => Some(format!("{}: {error}", proc.display())),
        };
        let why = unseen.into_iter().next().or(why);
        match (users.is_empty(), self.hidden.clone().or(why)) {
            (false, _) => InUse::By(users),
            (true, Some(why)) => InUse::Unknown(why),
            (true, None) => InUse::No,
        }
    }

    /// Adds a device or a file, and what it is on.
    fn add(&mut self, source: &Path, sys: &Path, proc: &Path) -> std::io::Result<()> {
        let metadata = fs::metadata(source)?;
        if metadata.file_type().is_block_device() {
            let number = metadata.rdev();
            self.add_device((rustix::fs::major(number), rustix::fs::minor(number)), sys, proc);
        } else {
            self.files.insert((metadata.dev(), metadata.ino()));
        }
        Ok(())
    }

    /// Adds a device, the disk that it is a partition of, the devices below it, a loop device's file, and what the
    /// server of a network block device has open.
    fn add_device(&mut self, number: (u32, u32), sys: &Path, proc: &Path) {
        if !self.devices.insert(number) {
            return;
        }
        let (major, minor) = number;
        let Ok(device) = fs::canonicalize(sys.join(format!("dev/block/{major}:{minor}"))) else {
            self.hide(format!("{} has no device {major}:{minor}", sys.display()));
            return;
        };
        let mut below = Vec::new();
        if device.join("partition").exists() {
            below.extend(device.parent().map(|disk| disk.join("dev")));
        }
        for slave in fs::read_dir(device.join("slaves")).into_iter().flatten().flatten() {
            below.push(slave.path().join("dev"));
        }
        let is_bottom = below.is_empty();
        for file in below {
            match fs::read_to_string(&file).ok().and_then(|text| pair(&text, 10)) {
                Some(number) => self.add_device(number, sys, proc),
                None => self.hide(format!("{} cannot be read", file.display())),
            }
        }
        let name = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Ok(file) = fs::read_to_string(device.join("loop/backing_file")) {
            let file = file.trim_end_matches('\n');
            if let Err(error) = self.add(Path::new(file), sys, proc) {
                self.hide(format!("{name} is on {file}, which cannot be looked at: {error}"));
            }
        } else if is_bottom && name.starts_with("nbd") {
            if let Err(why) = self.add_served(&device, sys, proc) {
                self.hide(format!("{name} is a network block device, and {why}"));
            }
        } else if is_bottom && (name.starts_with("loop") || !LOCAL.iter().any(|kind| name.starts_with(kind)))
        {
            self.hide(format!("this host cannot tell what {name} is on"));
        }
    }

    /// Adds the files and devices that the server of a network block device writes to, or says why there are none. What
    /// it has open to read only may be the base of several guests' disks.
    fn add_served(&mut self, device: &Path, sys: &Path, proc: &Path) -> Result<(), String> {
        let server =
            fs::read_to_string(device.join("pid")).map_err(|_| "its server is not known".to_owned())?;
        let process = proc.join(server.trim());
        let closed = |error| format!("its server, process {}, cannot be looked into: {error}", server.trim());
        let known = (self.devices.len(), self.files.len());
        for file in fs::read_dir(process.join("fd")).map_err(closed)? {
            let file = file.map_err(closed)?;
            // The first three are its input, its output and its log.
            let is_stream = file.file_name().to_str().is_some_and(|number| ["0", "1", "2"].contains(&number));
            let Ok(metadata) = fs::metadata(file.path()) else { continue };
            let kind = metadata.file_type();
            if !is_stream
                && (kind.is_file() || kind.is_block_device())
                && is_written(&process.join("fdinfo").join(file.file_name()))
            {
                self.add(&file.path(), sys, proc).map_err(closed)?;
            }
        }
        // It has the network block device itself open, too.
        if known == (self.devices.len(), self.files.len()) {
            return Err(format!(
                "its server, process {}, has no file or disk of this host open",
                server.trim()
            ));
        }
        Ok(())
    }

    /// Returns true if an open file is one of these, or a device on one of them.
    ///
    /// # Errors
    /// The file that a loop device is over cannot be looked at.
    fn has(&self, metadata: &fs::Metadata, sys: &Path, proc: &Path) -> Result<bool, String> {
        if metadata.file_type().is_block_device() {
            let number = metadata.rdev();
            return self.is_below((rustix::fs::major(number), rustix::fs::minor(number)), sys, proc);
        }
        Ok(self.files.contains(&(metadata.dev(), metadata.ino())))
    }

    /// Returns true if a device is one of these, or is a loop or network block device, or a partition of one, over the
    /// same image.
    ///
    /// # Errors
    /// The file that a loop device is over cannot be looked at.
    fn is_below(&self, number: (u32, u32), sys: &Path, proc: &Path) -> Result<bool, String> {
        if self.devices.contains(&number) {
            return Ok(true);
        }
        let (major, minor) = number;
        let Ok(device) = fs::canonicalize(sys.join(format!("dev/block/{major}:{minor}"))) else {
            return Ok(false);
        };
        let disk = match device.parent() {
            Some(disk) if device.join("partition").exists() => disk,
            _ => &device,
        };
        let name = disk.file_name().unwrap_or_default().to_string_lossy();
        if let Ok(file) = fs::read_to_string(disk.join("loop/backing_file")) {
            let file = file.trim_end_matches('\n');
            return match fs::metadata(file) {
                Ok(metadata) => self.has(&metadata, sys, proc),
                Err(error) => {
                    Err(format!("{name} is served, and is on {file}, which cannot be looked at: {error}"))
                }
            };
        }
        if !name.starts_with("nbd") {
            return Ok(false);
        }
        let mut server = Backing::default();
        // One on another host has no file of this one.
        let is_known = server.add_served(disk, sys, proc).is_ok();
        Ok(is_known && !server.files.is_disjoint(&self.files))
    }

    /// Notes why something below is not known.
    fn hide(&mut self, why: String) {
        self.hidden.get_or_insert(why);
    }
}

/// Returns true if an open file may be written, by its access mode in `fdinfo` (proc(5): `flags`, in octal); also where
/// that is not known.
fn is_written(info: &Path) -> bool {
    /// `O_ACCMODE`; reading only is 0.
    const ACCESS: u32 = 3;
    let text = fs::read_to_string(info).unwrap_or_default();
    let flags =
        text.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
    flags.is_none_or(|flags| flags & ACCESS != 0)
}

/// Returns the disks that blkback serves from these devices, and reasons why others are not known.
fn served(backing: &Backing, sys: &Path, proc: &Path) -> (Vec<String>, Vec<String>) {
    let (mut users, mut unseen) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(sys.join("bus/xen-backend/devices")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = fs::read_to_string(entry.path().join("physical_device")).ok();
        let Some(number) = number.and_then(|text| pair(&text, 16)) else { continue };
        match backing.is_below(number, sys, proc) {
            Ok(true) => {
                let domain = name.split('-').nth(1).unwrap_or("?");
                users.push(format!("domain {domain} ({name})"));
            }
            Ok(false) => {}
            Err(why) => unseen.push(why),
        }
    }
    users.sort();
    (users, unseen)
}

/// Returns the servers that have one of these open, and reasons why others are not known.
fn processes(backing: &Backing, sys: &Path, proc: &Path) -> std::io::Result<(Vec<String>, Vec<String>)> {
    let (mut users, mut unseen) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(proc)?.flatten() {
        let path = entry.path();
        let Ok(name) = fs::read_to_string(path.join("comm")) else { continue };
        let name = name.trim();
        if !SERVERS.iter().any(|server| name.starts_with(server)) {
            continue;
        }
        let process = format!("{name}, process {}", entry.file_name().to_string_lossy());
        let Ok(files) = fs::read_dir(path.join("fd")) else {
            unseen.push(format!("{process} may not be looked into; be root"));
            continue;
        };
        let open: Vec<_> = files
            .flatten()
            .filter_map(|file| fs::metadata(file.path()).ok())
            .map(|metadata| backing.has(&metadata, sys, proc))
            .collect();
        if open.contains(&Ok(true)) {
            let line = fs::read(path.join("cmdline")).unwrap_or_default();
            let mut words = line.split(|&byte| byte == 0);
            let domain = words.by_ref().find(|word| *word == b"-xen-domid").and_then(|_| words.next());
            let domain = domain.map(|domain| format!("domain {}: ", String::from_utf8_lossy(domain)));
            users.push(format!("{}{process}", domain.unwrap_or_default()));
        }
        unseen.extend(open.into_iter().filter_map(Result::err));
    }
    users.sort();
    Ok((users, unseen))
}

/// Two numbers with a colon between them.
fn pair(text: &str, radix: u32) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once(':')?;
    Some((u32::from_str_radix(major, radix).ok()?, u32::from_str_radix(minor, radix).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A loop device with a partition that is mapped, over an image; and what stands for the system's trees.
    struct Host(tempfile::TempDir);

    impl Host {
        fn new() -> Host {
            let host = Host(tempfile::tempdir().expect("a folder"));
            host.write("image", b"");
            host.write("sys/devices/loop0/dev", b"7:0\n");
            host.write(
                "sys/devices/loop0/loop/backing_file",
                format!("{}\n", host.path("image").display()).as_bytes(),
            );
            host.write("sys/devices/loop0/loop0p2/dev", b"259:1\n");
            host.write("sys/devices/loop0/loop0p2/partition", b"2\n");
            host.write("sys/devices/dm-0/dev", b"253:0\n");
            fs::create_dir_all(host.path("sys/devices/dm-0/slaves")).expect("made");
            symlink("../../loop0/loop0p2", host.path("sys/devices/dm-0/slaves/loop0p2")).expect("linked");
            fs::create_dir_all(host.path("sys/dev/block")).expect("made");
            for (number, device) in [("7:0", "loop0"), ("259:1", "loop0/loop0p2"), ("253:0", "dm-0")] {
                symlink(format!("../../devices/{device}"), host.path(&format!("sys/dev/block/{number}")))
                    .expect("linked");
            }
            host.write("proc/1/comm", b"systemd\n");
            host
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, content: &[u8]) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, content).expect("written");
        }

        fn process(&self, number: u32, name: &str, file: &str) {
            self.write(&format!("proc/{number}/comm"), format!("{name}\n").as_bytes());
            self.write(&format!("proc/{number}/cmdline"), b"qemu\0-xen-domid\x005\0-name\0guest\0");
            fs::create_dir_all(self.path(&format!("proc/{number}/fd"))).expect("made");
            symlink(self.path(file), self.path(&format!("proc/{number}/fd/9"))).expect("linked");
        }

        fn mapped(&self) -> (Vec<String>, Vec<String>) {
            let mut backing = Backing::default();
            backing.add_device((253, 0), &self.path("sys"), &self.path("proc"));
            let (sys, proc) = (self.path("sys"), self.path("proc"));
            let found = processes(&backing, &sys, &proc).expect("listed");
            (served(&backing, &sys, &proc).0, found.0)
        }
    }

    #[test]
    fn a_disk_is_followed_down_to_its_image() {
        let host = Host::new();
        let mut backing = Backing::default();
        backing.add_device((253, 0), &host.path("sys"), &host.path("proc"));
        assert_eq!(backing.devices, BTreeSet::from([(7, 0), (253, 0), (259, 1)]));
        assert_eq!(backing.files.len(), 1);
        assert_eq!(host.mapped(), (vec![], vec![]));
    }

    #[test]
    fn blkback_is_seen() {
        let host = Host::new();
        host.write("sys/bus/xen-backend/devices/vbd-3-51712/physical_device", b"fd:1\n");
        host.write("sys/bus/xen-backend/devices/vbd-4-51712/physical_device", b"7:0\n");
        host.write("sys/bus/xen-backend/devices/vif-4-0/state", b"4\n");
        assert_eq!(host.mapped().0, ["domain 4 (vbd-4-51712)"]);
    }

    /// Adds a loop device over a file, or over a device's node.
    fn loop_device(host: &Host, minor: u32, over: &Path) {
        let name = format!("loop{minor}");
        disk(host, &name, 7, minor);
        host.write(
            &format!("sys/devices/{name}/loop/backing_file"),
            format!("{}\n", over.display()).as_bytes(),
        );
    }

    /// The guest has a loop device of its own over the image that is mounted by another one.
    #[test]
    fn a_server_of_another_loop_device_of_the_image_is_seen() {
        let host = Host::new();
        host.write("other", b"");
        loop_device(&host, 5, &host.path("image"));
        loop_device(&host, 6, &host.path("other"));
        let served = |number: &str| {
            host.write(
                "sys/bus/xen-backend/devices/vbd-4-51712/physical_device",
                format!("{number}\n").as_bytes(),
            );
            host.mapped().0
        };
        assert_eq!(served("7:5"), ["domain 4 (vbd-4-51712)"]);
        assert_eq!(served("7:69"), ["domain 4 (vbd-4-51712)"], "a partition of it");
        assert!(served("7:6").is_empty());
        // Two volumes of one group are on one disk, and are none of each other's.
        host.write("sys/devices/dm-1/dev", b"253:1\n");
        fs::create_dir_all(host.path("sys/devices/dm-1/slaves")).expect("made");
        symlink("../../loop0/loop0p2", host.path("sys/devices/dm-1/slaves/loop0p2")).expect("linked");
        symlink("../../devices/dm-1", host.path("sys/dev/block/253:1")).expect("linked");
        assert!(served("fd:1").is_empty());
        // A network block device, by the file that its server writes to.
        disk(&host, "nbd0", 43, 0);
        host.write("sys/devices/nbd0/pid", b"77\n");
        assert!(served("2b:0").is_empty());
        host.process(77, "qemu-nbd", "image");
        host.write("proc/77/fdinfo/9", b"flags:\t02100002\n");
        assert_eq!(served("2b:0"), ["domain 4 (vbd-4-51712)"]);
        // Another path may lead to the image, and none is seen from here.
        fs::remove_file(host.path("other")).expect("removed");
        assert!(served("7:6").is_empty());
        let told = InUse::of_source(&host.path("image"), &host.path("sys"), &host.path("proc"));
        assert!(matches!(&told, InUse::Unknown(why) if why.contains("loop6")), "{told:?}");
    }

    /// Makes the node of a block device; false where the user may not.
    fn node(path: &Path, (major, minor): (u32, u32)) -> bool {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let number = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::BlockDevice, mode, number).is_ok()
    }

    /// Only root makes the nodes that this needs.
    #[test]
    fn an_emulator_with_another_loop_device_of_the_image_is_seen() {
        let host = Host::new();
        loop_device(&host, 5, &host.path("image"));
        if !node(&host.path("loop5"), (7, 5)) || !node(&host.path("loop0"), (7, 0)) {
            return;
        }
        host.process(12, "qemu-system-i38", "loop5");
        assert_eq!(host.mapped().1, ["domain 5: qemu-system-i38, process 12"]);
        // One that is over the other.
        loop_device(&host, 7, &host.path("loop0"));
        host.write("sys/bus/xen-backend/devices/vbd-4-51712/physical_device", b"7:7\n");
        assert_eq!(host.mapped().0, ["domain 4 (vbd-4-51712)"]);
    }

    #[test]
    fn an_emulator_is_seen_and_a_reader_of_this_host_is_not() {
        let host = Host::new();
        host.write("other", b"");
        host.process(10, "qemu-nbd", "image");
        host.process(11, "qemu-system-i38", "other");
        assert_eq!(host.mapped().1, Vec::<String>::new());
        host.process(12, "qemu-system-i38", "image");
        host.process(13, "tapdisk", "image");
        let users = ["domain 5: qemu-system-i38, process 12", "domain 5: tapdisk, process 13"];
        assert_eq!(host.mapped().1, users);
        let of_image = InUse::of_source(&host.path("image"), &host.path("sys"), &host.path("proc"));
        assert_eq!(of_image, InUse::By(users.map(str::to_owned).into()));
    }

    /// Adds a disk, and its first partition, to a host's trees.
    fn disk(host: &Host, name: &str, major: u32, minor: u32) {
        let partition = if minor == 0 { 1 } else { minor + 100 };
        host.write(&format!("sys/devices/{name}/dev"), format!("{major}:{minor}\n").as_bytes());
        host.write(&format!("sys/devices/{name}/{name}p1/dev"), format!("{major}:{partition}\n").as_bytes());
        host.write(&format!("sys/devices/{name}/{name}p1/partition"), b"1\n");
        for (minor, device) in [(minor, name.to_owned()), (partition, format!("{name}/{name}p1"))] {
            symlink(format!("../../devices/{device}"), host.path(&format!("sys/dev/block/{major}:{minor}")))
                .expect("linked");
        }
    }

    /// `qemu-nbd -c` makes a disk of a qcow2 file; the process that serves it has the file open.
    #[test]
    fn an_nbd_device_is_followed_to_the_files_of_its_server() {
        let host = Host::new();
        disk(&host, "nbd0", 43, 0);
        let of_nbd = || {
            let mut backing = Backing::default();
            let (sys, proc) = (host.path("sys"), host.path("proc"));
            backing.add_device((43, 1), &sys, &proc);
            backing.users(&sys, &proc)
        };
        let unknown = |text: &str| match of_nbd() {
            InUse::Unknown(why) => assert!(why.contains(text), "{why}"),
            told => panic!("{text}: {told:?}"),
        };
        unknown("nbd0");
        host.write("sys/devices/nbd0/pid", b"77\n");
        unknown("process 77");
        // It has a log open, and the base of another guest's disk to read.
        host.write("log", b"");
        host.write("base", b"");
        host.process(77, "qemu-nbd", "base");
        host.write("proc/77/fdinfo/9", b"pos:\t0\nflags:\t02100000\n");
        symlink(host.path("log"), host.path("proc/77/fd/2")).expect("linked");
        unknown("no file");
        symlink(host.path("image"), host.path("proc/77/fd/10")).expect("linked");
        host.write("proc/77/fdinfo/10", b"pos:\t0\nflags:\t02100002\n");
        assert_eq!(of_nbd(), InUse::No);
        host.process(12, "qemu-system-x86", "base");
        assert_eq!(of_nbd(), InUse::No, "it is not alone in reading the base");
        host.process(13, "qemu-system-x86", "image");
        assert_eq!(of_nbd(), InUse::By(vec!["domain 5: qemu-system-x86, process 13".to_owned()]));
    }

    #[test]
    fn a_device_of_an_unknown_kind_is_no_end() {
        let host = Host::new();
        let (sys, proc) = (host.path("sys"), host.path("proc"));
        for (number, name) in [
            "sda", "hdb", "vdc", "xvda", "nvme0n1", "mmcblk0", "md127", "dm-7", "zd0", "drbd1", "sr0",
            "pmem0",
        ]
        .into_iter()
        .chain(["rbd0", "ublkb0", "zram0"])
        .enumerate()
        {
            let major = 100 + number as u32;
            disk(&host, name, major, 0);
            let mut backing = Backing::default();
            backing.add_device((major, 1), &sys, &proc);
            match backing.users(&sys, &proc) {
                InUse::No => assert!(number < 12, "{name}"),
                InUse::Unknown(why) => assert!(number >= 12 && why.contains(name), "{name}: {why}"),
                told => panic!("{name}: {told:?}"),
            }
        }
        // A device that sysfs does not have, and a loop device whose file is gone.
        for (number, gone) in [((9, 9), "9:9"), ((7, 0), "image")] {
            let _ = fs::remove_file(host.path("image"));
            let mut backing = Backing::default();
            backing.add_device(number, &sys, &proc);
            assert!(matches!(backing.users(&sys, &proc), InUse::Unknown(why) if why.contains(gone)));
        }
    }

    #[test]
    fn what_cannot_be_told_is_unknown() {
        let host = Host::new();
        let (image, sys, proc) = (host.path("image"), host.path("sys"), host.path("proc"));
        assert_eq!(InUse::of_source(&image, &sys, &proc), InUse::No);
        assert!(matches!(InUse::of_source(&host.path("gone"), &sys, &proc), InUse::Unknown(_)));
        assert!(matches!(InUse::of_source(&image, &sys, &host.path("gone")), InUse::Unknown(_)));
        host.write("proc/20/comm", b"qemu-system-x86\n");
        assert!(
            matches!(InUse::of_source(&image, &sys, &proc), InUse::Unknown(why) if why.contains("process 20"))
        );
    }
}
