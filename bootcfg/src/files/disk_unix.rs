//! Attributes and names on Unix, where a guest's FAT or NTFS may be mounted.

use super::Attributes;
use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

/// The attributes of a file on NTFS: a `u32` in the machine's byte order (ntfs-3g's manual, "Extended
/// attributes"; `fs/ntfs3/xattr.c` has the same).
const NTFS_ATTRIBUTES: &str = "system.ntfs_attrib";
/// The security descriptor of a file on NTFS: of ntfs-3g (its manual, "Extended attributes"), and of the
/// kernel's ntfs3 (`fs/ntfs3/xattr.c`).
const NTFS_SECURITY: [&str; 2] = ["system.ntfs_acl", "system.ntfs_security"];
/// The largest extended attribute of Linux (`XATTR_SIZE_MAX`).
const LARGEST: usize = 64 << 10;

pub(super) fn attributes(path: &Path) -> io::Result<Attributes> {
    let metadata = fs::metadata(path)?;
    let dos = match dos_attributes(path) {
        Some(dos) => dos & Attributes::DOS,
        None if metadata.mode() & 0o222 == 0 => Attributes::READ_ONLY,
        None => 0,
    };
    let unix = Some((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()));
    Ok(Attributes { dos, unix, security: security(path)? })
}

pub(super) fn set_attributes(path: &Path, attributes: &Attributes) -> io::Result<()> {
    if let Some((mode, owner, group)) = attributes.unix {
        let now = fs::metadata(path)?;
        if (now.uid(), now.gid()) != (owner, group) {
            chown(path, Some(owner), Some(group))?;
        }
        if now.mode() & 0o7777 != mode {
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
    }
    match dos_attributes(path) {
        Some(now) if now & Attributes::DOS != attributes.dos => {
            set_dos_attributes(path, now & !Attributes::DOS | attributes.dos)?;
        }
        _ => {}
    }
    // Last: with the mount option `permissions` a mode that is set makes a descriptor of its own.
    if let Some(wanted) = &attributes.security
        && security(path)?.as_ref() != Some(wanted)
    {
        set_security(path, wanted)?;
    }
    Ok(())
}

/// Returns the security descriptor; `None` on a file system that has none.
///
/// # Errors
/// The file is on NTFS, and this mount does not show its descriptor.
fn security(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; LARGEST];
    for name in NTFS_SECURITY {
        if let Ok(length) = rustix::fs::getxattr(path, name, &mut value[..]) {
            value.truncate(length);
            return Ok(Some(value));
        }
    }
    if is_ntfs(path) {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the file is on NTFS, but this mount does not show who may write it (system.ntfs_acl), so what is written \
             would be open to every user of the guest; mount the volume with ntfs-3g, as root",
        ));
    }
    Ok(None)
}

fn set_security(path: &Path, wanted: &[u8]) -> io::Result<()> {
    let mut result = Ok(());
    for name in NTFS_SECURITY {
        result = rustix::fs::setxattr(path, name, wanted, rustix::fs::XattrFlags::empty());
        if result.is_ok() {
            break;
        }
    }
    // Read back: a file that everybody may write is what this is about.
    match (result, security(path)?) {
        (_, Some(now)) if now == wanted => Ok(()),
        (Err(error), _) => Err(io::Error::new(
            io::Error::from(error).kind(),
            format!(
                "its security descriptor cannot be set ({error}); mount the volume with ntfs-3g, as root"
            ),
        )),
        (Ok(()), _) => Err(io::Error::other(
            "its security descriptor does not read back as it was set; mount the volume with ntfs-3g, as root",
        )),
    }
}

/// Returns true if the file is on NTFS, by what its mount answers or the boot sector of the device has.
fn is_ntfs(path: &Path) -> bool {
    /// `f_type` of the kernel's ntfs3 and of its predecessor.
    const KERNEL: [i64; 2] = [0x7366_746e, 0x5346_544e];
    let mut value = [0; 4];
    file_system(path).is_some_and(|kind| KERNEL.contains(&kind))
        || rustix::fs::getxattr(path, NTFS_ATTRIBUTES, &mut value).is_ok()
        || has_boot_sector_of_ntfs(path)
}

#[cfg(target_os = "linux")]
fn file_system(path: &Path) -> Option<i64> {
    rustix::fs::statfs(path).ok().map(|found| found.f_type)
}

#[cfg(not(target_os = "linux"))]
fn file_system(_path: &Path) -> Option<i64> {
    None
}

#[cfg(target_os = "linux")]
fn has_boot_sector_of_ntfs(path: &Path) -> bool {
    /// `FUSE_SUPER_MAGIC`: other file systems say themselves what they are.
    const FUSE: i64 = 0x6573_5546;
    file_system(path) == Some(FUSE)
        && crate::system::boot_sector::of_file(path).is_some_and(|sector| &sector[3..11] == b"NTFS    ")
}

#[cfg(not(target_os = "linux"))]
fn has_boot_sector_of_ntfs(_path: &Path) -> bool {
    false
}

pub(super) fn resolve(path: &Path) -> io::Result<PathBuf> {
    if let Some(target) = leads_away(path) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "it is a symbolic link that leads out of its volume, to {}; if that is what you mean, name that file",
                target.display()
            ),
        ));
    }
    fs::canonicalize(path)
}

pub(super) fn leads_away(path: &Path) -> Option<PathBuf> {
    let link = fs::symlink_metadata(path).ok().filter(|metadata| metadata.is_symlink())?;
    let target = fs::canonicalize(path).ok()?;
    (link.dev() != fs::metadata(&target).ok()?.dev()).then_some(target)
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

pub(super) fn flush_volume(path: &Path) -> io::Result<()> {
    rustix::fs::syncfs(File::open(path)?).map_err(io::Error::from)
}

pub(super) fn flush_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// `None` on a file system without such attributes.
fn dos_attributes(path: &Path) -> Option<u32> {
    let mut value = [0; 4];
    if let Ok(4) = rustix::fs::getxattr(path, NTFS_ATTRIBUTES, &mut value) {
        return Some(u32::from_ne_bytes(value));
    }
    #[cfg(target_os = "linux")]
    return fat::attributes(&File::open(path).ok()?).ok();
    #[cfg(not(target_os = "linux"))]
    None
}

fn set_dos_attributes(path: &Path, attributes: u32) -> io::Result<()> {
    let ntfs = rustix::fs::setxattr(
        path,
        NTFS_ATTRIBUTES,
        &attributes.to_ne_bytes(),
        rustix::fs::XattrFlags::REPLACE,
    );
    #[cfg(target_os = "linux")]
    if ntfs.is_err() {
        return fat::set_attributes(&File::open(path)?, attributes);
    }
    Ok(ntfs?)
}

/// FAT's attributes, by the two requests of `linux/msdos_fs.h`.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "ioctl")]
mod fat {
    use rustix::ioctl::{Getter, Setter, ioctl, opcode};
    use std::{fs::File, io};

    /// `FAT_IOCTL_GET_ATTRIBUTES`: `_IOR('r', 0x10, __u32)`.
    const GET: u32 = opcode::read::<u32>(b'r', 0x10);
    /// `FAT_IOCTL_SET_ATTRIBUTES`: `_IOW('r', 0x11, __u32)`.
    const SET: u32 = opcode::write::<u32>(b'r', 0x11);

    pub(super) fn attributes(file: &File) -> io::Result<u32> {
        // SAFETY: the request writes one u32, and a file system that is not FAT refuses it.
        Ok(unsafe { ioctl(file, Getter::<GET, u32>::new()) }?)
    }

    pub(super) fn set_attributes(file: &File, attributes: u32) -> io::Result<()> {
        // SAFETY: the request reads one u32, and a file system that is not FAT refuses it.
        Ok(unsafe { ioctl(file, Setter::<SET, u32>::new(attributes)) }?)
    }
}
