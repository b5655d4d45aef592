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

pub fn attributes(path: &Path) -> io::Result<Attributes> {
    let metadata = fs::metadata(path)?;
    let dos = match dos_attributes(path) {
        Some(dos) => dos & Attributes::DOS,
        None if metadata.mode() & 0o222 == 0 => Attributes::READ_ONLY,
        None => 0,
    };
    Ok(Attributes { dos, unix: Some((metadata.mode() & 0o7777, metadata.uid(), metadata.gid())) })
}

pub fn set_attributes(path: &Path, attributes: &Attributes) -> io::Result<()> {
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
            set_dos_attributes(path, now & !Attributes::DOS | attributes.dos)
        }
        _ => Ok(()),
    }
}

pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(path)
}

pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

pub fn flush_folder(folder: &Path) -> io::Result<()> {
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

    pub fn attributes(file: &File) -> io::Result<u32> {
        // SAFETY: the request writes one u32, and a file system that is not FAT refuses it.
        Ok(unsafe { ioctl(file, Getter::<GET, u32>::new()) }?)
    }

    pub fn set_attributes(file: &File, attributes: u32) -> io::Result<()> {
        // SAFETY: the request reads one u32, and a file system that is not FAT refuses it.
        Ok(unsafe { ioctl(file, Setter::<SET, u32>::new(attributes)) }?)
    }
}
