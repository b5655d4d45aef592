//! BitLocker by the boot sector of the mounted volume's device.

use std::path::Path;

/// Bytes 3 to 10 of a BitLocker volume's boot sector, where NTFS has "NTFS    ".
#[cfg(target_os = "linux")]
const BITLOCKER: &[u8; 8] = b"-FVE-FS-";

/// `None` where the device is not known or not readable.
#[cfg(target_os = "linux")]
pub(crate) fn is_bitlocker(root: &Path) -> Option<bool> {
    of_file(root).map(|sector| &sector[3..11] == BITLOCKER)
}

/// Reads the boot sector of the device that a file's volume is mounted from; `None` where the device is not
/// known or not readable.
#[cfg(target_os = "linux")]
pub(crate) fn of_file(path: &Path) -> Option<[u8; 512]> {
    use std::{fs, io::Read};
    let mut sector = [0; 512];
    fs::File::open(source_of(path)?).ok()?.read_exact(&mut sector).ok()?;
    Some(sector)
}

/// Returns the device, or the image, that a file's volume is mounted from.
#[cfg(target_os = "linux")]
pub(crate) fn source_of(path: &Path) -> Option<String> {
    use std::{fs, os::unix::fs::MetadataExt};
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let number = fs::metadata(path).ok()?.dev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    device_of(&mounts, &format!("{major}:{minor}")).map(str::to_owned)
}

/// `None`: there are no such mounts here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_bitlocker(_root: &Path) -> Option<bool> {
    None
}

/// Returns the source of the last mount of the device with this number (proc(5), `/proc/pid/mountinfo`): the
/// third field is the number, the second one behind the hyphen is the source.
#[cfg(any(target_os = "linux", test))]
fn device_of<'a>(mounts: &'a str, number: &str) -> Option<&'a str> {
    let at = |line: &&str| line.split(' ').nth(2) == Some(number);
    let line = mounts.lines().rfind(at)?;
    let device = line.split_once(" - ")?.1.split(' ').nth(1)?;
    device.starts_with('/').then_some(device)
}

#[cfg(test)]
mod tests {
    use super::device_of;

    #[test]
    fn the_device_of_a_mount() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      30 22 0:5 / /mnt/guest rw,noatime shared:1 - fuseblk /dev/mapper/guest1 rw\n\
                      31 22 0:6 / /proc rw - proc proc rw\n";
        assert_eq!(device_of(mounts, "0:5"), Some("/dev/mapper/guest1"));
        assert_eq!(device_of(mounts, "0:9"), None);
        assert_eq!(device_of(mounts, "0:6"), None);
    }
}
