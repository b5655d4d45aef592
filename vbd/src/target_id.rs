//! The target id of a vbd's disk.
//!
//! Windows tells disks of an adapter apart by their target ids: it keeps a disk's settings (offline, read-only,
//! cache policy, names) by the id. So a disk has the same one whichever others there are, in every boot: the
//! number that its vbd counts as a disk (`hda`, `sda` and `xvda` are 0).

use xen::blkif::VirtualDevice;

/// Returns the target id of `device`, below `limit`, among those that `usable` accepts: its own, or, where
/// another vbd has that (`hda` beside `xvda`) or there is none, the highest.
pub fn choose(device: VirtualDevice, limit: usize, usable: impl Fn(usize) -> bool) -> Option<usize> {
    let own = device.place().map(|(disk, _)| disk as usize).filter(|id| *id < limit && usable(*id));
    own.or_else(|| (0..limit).rev().find(|id| usable(*id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_keeps_its_id_whichever_others_there_are() {
        let xvd = |letter: u32| VirtualDevice(202 << 8 | letter << 4);
        for taken in [&[][..], &[0], &[0, 1], &[1, 3]] {
            assert_eq!(choose(xvd(2), 255, |id| !taken.contains(&id)), Some(2));
        }
        // hda beside xvda, xvda1 beside xvda; a number without a scheme; more disks than ids.
        assert_eq!(choose(VirtualDevice(768), 255, |id| id != 0), Some(254));
        assert_eq!(choose(VirtualDevice(2 << 28), 255, |_| true), Some(254));
        assert_eq!(choose(VirtualDevice(1 << 28 | 300 << 8), 255, |id| id < 3), Some(2));
        assert_eq!(choose(xvd(0), 255, |_| false), None);
    }
}
