//! dom0's kernel, hypervisor and root disk, made of the packages of a release of Debian.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::{self, Key};
use crate::command::Tool;
use crate::cpio::Cpio;
use crate::error::{FileContext, RigError};
use crate::host;
use crate::modules::{self, ORDER, only};
use crate::release::Release;

/// Modules dom0 needs: its disks (ext4 asks for crc32c by a soft dependency), then what the toolstack and the
/// block backend need.
const MODULES: [&str; 11] = [
    "virtio_pci",
    "virtio_blk",
    "crc32c_generic",
    "ext4",
    "xen-evtchn",
    "xen-gntdev",
    "xen-gntalloc",
    "xen-privcmd",
    "xenfs",
    "xen-blkback",
    "loop",
];
/// Parts of the tree that a booted dom0 never opens.
const UNUSED: [&str; 15] = [
    "boot",
    "usr/lib/modules",
    "usr/lib/udev",
    "usr/lib/python3",
    "usr/lib/python3.9",
    "usr/lib/python3.11",
    "usr/lib/python3.13",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl",
    "usr/share/perl5",
    "usr/lib/ipxe",
    "var/cache",
];
/// Places on which dom0's init mounts or links something: the root itself is read-only.
const MOUNT_POINTS: [&str; 10] =
    ["dev", "proc", "sys", "run", "tmp", "var/log", "var/lib/xen", "var/lib/xenstored", "root", "mnt"];
const UNPACK_LIMIT: Duration = Duration::from_secs(1200);
const STEP_LIMIT: Duration = Duration::from_secs(300);
/// Counts changes of the recipe below that its other inputs do not show.
const RECIPE: &[u8] = b"2";

const XEN: &str = "xen";
const KERNEL: &str = "vmlinuz";
const ROOT: &str = "root.ext4";
const BUSYBOX: &str = "busybox";

/// The finished files.
#[derive(Clone, Debug)]
pub(crate) struct Dom0 {
    release: Release,
    dir: PathBuf,
}

impl Dom0 {
    /// Describes the files of `release` in `dir`.
    pub(crate) fn at(release: Release, dir: PathBuf) -> Self {
        Self { release, dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the hypervisor, a multiboot image.
    pub(crate) fn xen(&self) -> PathBuf {
        self.dir.join(XEN)
    }

    /// Returns dom0's Linux.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.dir.join(KERNEL)
    }

    /// Returns dom0's root disk.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.join(ROOT)
    }

    pub(crate) fn key(&self) -> Key {
        Key::of(&[
            RECIPE,
            self.release.suite().as_bytes(),
            self.release.packages().join(" ").as_bytes(),
            MODULES.join(" ").as_bytes(),
            UNUSED.join(" ").as_bytes(),
            MOUNT_POINTS.join(" ").as_bytes(),
            self.release.root_size().as_bytes(),
        ])
    }

    /// Fills `part` from the archive.
    pub(crate) fn make(
        &self,
        part: &Path,
        archive: &str,
        scratch: &Path,
        say: &(dyn Fn(&str) + Sync),
    ) -> Result<Vec<&'static str>, RigError> {
        let tree = scratch.join("dom0-tree");
        cache::remove(&tree)?;
        say("dom0: unpacking its packages");
        let packages = self.release.packages();
        let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
        host::unpack(self.release.suite(), &packages, &tree, archive, scratch, UNPACK_LIMIT)?;
        say("dom0: building its root disk");
        merge_usr(&tree)?;
        take_boot_files(self.release, &tree, part, scratch)?;
        modules::take(&tree, part, scratch, &MODULES)?;
        prune(&tree)?;
        Tool::plain(host::find("mke2fs").unwrap_or_else(|| "mke2fs".into()), &scratch.join("mke2fs.log"))
            .args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"])
            .arg(&tree)
            .arg(part.join(ROOT))
            .arg(self.release.root_size())
            .run(STEP_LIMIT)?;
        cache::remove(&tree)?;
        Ok(vec![XEN, KERNEL, ROOT, BUSYBOX, ORDER])
    }

    /// Returns the initial file system: busybox, the modules in order, and the rig's scripts.
    pub(crate) fn initramfs(&self, scripts: &[(&str, &str)]) -> Result<Vec<u8>, RigError> {
        let read = |name: &str| {
            let path = self.dir.join(name);
            fs::read(&path).file("read", path)
        };
        let mut cpio = Cpio::default();
        for dir in ["bin", "modules"] {
            cpio.directory(dir);
        }
        cpio.file("bin/busybox", 0o755, &read(BUSYBOX)?);
        cpio.symlink("bin/sh", "busybox");
        let order = read(ORDER)?;
        cpio.file(ORDER, 0o644, &order);
        for module in String::from_utf8_lossy(&order).lines() {
            let name = format!("modules/{module}");
            let data = read(&name)?;
            cpio.file(&name, 0o644, &data);
        }
        for (name, text) in scripts {
            cpio.file(name, 0o755, text.as_bytes());
        }
        Ok(cpio.finish())
    }
}

/// Packages are unpacked as they are, with /bin, /sbin and /lib apart from /usr; programs expect them merged.
pub(crate) fn merge_usr(tree: &Path) -> Result<(), RigError> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        let (old, new) = (tree.join(name), tree.join("usr").join(name));
        if old.is_dir() && !old.is_symlink() {
            merge(&old, &new)?;
        }
        if !old.exists() && new.exists() {
            symlink(format!("usr/{name}"), &old).file("link", &old)?;
        }
    }
    Ok(())
}

/// Moves everything of `from` into `into`, and removes `from`.
fn merge(from: &Path, into: &Path) -> Result<(), RigError> {
    fs::create_dir_all(into).file("create", into)?;
    for entry in fs::read_dir(from).file("list", from)? {
        let entry = entry.file("list", from)?;
        let (old, new) = (entry.path(), into.join(entry.file_name()));
        if old.is_dir() && !old.is_symlink() {
            merge(&old, &new)?;
        } else {
            fs::rename(&old, &new).file("move", &old)?;
        }
    }
    fs::remove_dir(from).file("remove", from)
}

fn take_boot_files(release: Release, tree: &Path, part: &Path, scratch: &Path) -> Result<(), RigError> {
    let boot = tree.join("boot");
    let copy = |from: PathBuf, to: PathBuf| fs::copy(&from, to).map(drop).file("copy", from);
    copy(only(&boot, "vmlinuz-", "-amd64")?, part.join(KERNEL))?;
    copy(tree.join("usr/bin/busybox"), part.join(BUSYBOX))?;
    let packed = part.join("xen.gz");
    copy(only(&boot, &format!("xen-{}", release.xen()), ".gz")?, packed.clone())?;
    Tool::plain("gzip", &scratch.join("gzip.log")).arg("-d").arg(packed).run(STEP_LIMIT)?;
    // hvmloader's SeaBIOS loads a multiboot kernel through fw_cfg; Xen's has no DMA, which multiboot_dma.bin
    // waits for, so the variant without takes its place.
    let roms = tree.join("usr/share/qemu");
    copy(roms.join("multiboot.bin"), roms.join("multiboot_dma.bin"))
}

fn prune(tree: &Path) -> Result<(), RigError> {
    for name in UNUSED {
        cache::remove(&tree.join(name))?;
    }
    for name in MOUNT_POINTS {
        let dir = tree.join(name);
        if name == "dev" {
            cache::remove(&dir)?;
        }
        fs::create_dir_all(&dir).file("create", &dir)?;
    }
    for (name, target) in [("var/run", "/run"), ("var/lock", "/run/lock")] {
        let link = tree.join(name);
        if !link.is_symlink() {
            cache::remove(&link)?;
            symlink(target, &link).file("link", link)?;
        }
    }
    Ok(())
}
