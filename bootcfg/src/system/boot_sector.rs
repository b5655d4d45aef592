//! BitLocker by the boot sector of the mounted volume's device.

use std::path::Path;

/// Bytes 3 to 10 of a BitLocker volume's boot sector, where NTFS has "NTFS    ".
#[cfg(target_os = "linux")]
const BITLOCKER: &[u8; 8] = b"-FVE-FS-";

/// `None` where the device is not known or not readable.
#[cfg(target_os = "linux")]
pub fn is_bitlocker(root: &Path) -> Option<bool> {
    use std::{fs, io::Read};
    let root = fs::canonicalize(root).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let device = device_of(&mounts, root.to_str()?)?;
    let mut sector = [0; 512];
    fs::File::open(device).ok()?.read_exact(&mut sector).ok()?;
    Some(&sector[3..11] == BITLOCKER)
}

/// `None`: there are no such mounts here.
#[cfg(not(target_os = "linux"))]
pub fn is_bitlocker(_root: &Path) -> Option<bool> {
    None
}

/// The source of the last mount at `point` (proc(5), `/proc/pid/mountinfo`): the fifth field is the mount
/// point, the second one behind the hyphen is the source.
#[cfg(any(target_os = "linux", test))]
fn device_of<'a>(mounts: &'a str, point: &str) -> Option<&'a str> {
    let at = |line: &&str| line.split(' ').nth(4) == Some(point);
    let line = mounts.lines().rfind(at)?;
    let device = line.split_once(" - ")?.1.split(' ').nth(1)?;
    device.starts_with('/').then_some(device)
}

#[cfg(test)]
mod tests {
    use super::device_of;

    #[test]
    fn the_device_behind_a_mount_point() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      30 22 0:5 / /mnt/guest rw,noatime shared:1 - fuseblk /dev/mapper/guest1 rw\n\
                      31 22 0:6 / /proc rw - proc proc rw\n";
        assert_eq!(device_of(mounts, "/mnt/guest"), Some("/dev/mapper/guest1"));
        assert_eq!(device_of(mounts, "/mnt"), None);
        assert_eq!(device_of(mounts, "/proc"), None);
    }
}
