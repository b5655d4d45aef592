//! A vbd whose blocks are not those of an emulated disk.

mod common;

use common::add_vbd;
use guard::decision::PvDisks;
use survey::{Failure, survey};
use xen::fake::Tree;

const HDA: u32 = 768;
const HDD: u32 = 5696;
const SDF: u32 = 2128;
const XVDB: u32 = 51728;
const XVDD: u32 = 51760;
const XVDE: u32 = 51776;

/// Returns the survey of hda, and of a vbd with blocks of 4096 bytes.
fn beside(number: u32) -> Result<PvDisks, Failure> {
    let mut tree = Tree::default();
    for (number, blocks) in [(HDA, "512"), (number, "4096")] {
        let params = format!("/dev/vg/{number}");
        add_vbd(&mut tree, number, "disk", &[("params", &params), ("sector-size", blocks)]);
    }
    survey(&mut tree, || Some(1))
}

/// libxl has qemu emulate the first four disks, whatever their names, and each sd.
#[test]
fn blocks_of_an_emulated_disk_speak_against_pv() {
    for device in [HDD, SDF, XVDB, XVDD] {
        assert_eq!(beside(device), Err(Failure::Blocks { device, bytes: 4096 }));
    }
    assert_eq!(beside(XVDE), Ok(PvDisks::Ready(2)));
}
