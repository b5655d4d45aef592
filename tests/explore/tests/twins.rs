//! Two vbds of one storage, and what an emulated boot would see of them.

mod common;

use common::add_vbd;
use guard::decision::PvDisks;
use survey::{Failure, survey};
use xen::fake::Tree;

const HDA: u32 = 768;
const HDB: u32 = 832;
const SDB: u32 = 2064;
const XVDA: u32 = 51712;
const XVDB: u32 = 51728;
const XVDE: u32 = 51776;

/// Returns the survey of vbds, each with what its backend's `params` are and its type.
fn seen(vbds: &[(u32, &str, &str)]) -> Result<PvDisks, Failure> {
    let mut tree = Tree::default();
    for (number, params, kind) in vbds {
        add_vbd(&mut tree, *number, kind, &[("params", params)]);
    }
    survey(&mut tree, || Some(1))
}

/// An emulated boot has each storage once where one of the two is no emulated disk.
#[test]
fn a_pair_with_one_emulated_disk_speaks_against_pv() {
    for second in [XVDE, 1 << 28 | 20 << 8] {
        match seen(&[(HDA, "/dev/sdb", "disk"), (second, "/dev/sdb1", "disk")]) {
            Err(Failure::Shared { mut devices }) => {
                devices.sort_unstable();
                assert_eq!(devices, [HDA, second]);
            }
            other => panic!("{second}: {other:?}"),
        }
    }
    // No file system is mounted from a CD-ROM drive that writes.
    let drive = seen(&[(HDA, "/dev/sdb", "disk"), (HDB, "/dev/sdb", "cdrom")]);
    assert_eq!(drive, Err(Failure::Shared { devices: [HDA, HDB] }));
}

/// An emulated boot would mount both, and a PV boot connects one of them.
#[test]
fn a_pair_of_emulated_disks_does_not_speak_against_pv() {
    for (first, second) in [(HDA, HDB), (HDA, SDB), (XVDA, XVDB), (HDA, XVDB)] {
        let seen = seen(&[(first, "/dev/sdb", "disk"), (second, "/dev/sdb1", "disk")]);
        assert_eq!(seen, Ok(PvDisks::Ready(2)), "{first} {second}");
    }
}

/// A third vbd changes nothing of that, in whatever order they are listed.
#[test]
fn a_pair_of_emulated_disks_outweighs_another_pair() {
    let vbds = [(HDA, "/dev/sdb", "disk"), (HDB, "/dev/sdb1", "disk"), (XVDE, "/dev/sdb", "disk")];
    for order in [[0, 1, 2], [0, 2, 1], [2, 0, 1], [2, 1, 0]] {
        assert_eq!(seen(&order.map(|at| vbds[at])), Ok(PvDisks::Ready(3)), "{order:?}");
    }
}
