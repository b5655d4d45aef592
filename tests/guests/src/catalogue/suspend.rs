//! Guests that are saved, restored and copied.

use protocol::{Exercise, Ready, Version, Word};

use crate::{
    check::{Check, Differences, Seen},
    checks::{load::IN_USE, upcalls::VECTORS},
    scenario::{PV_BOOT, Runs, Scenario, When},
};

/// The guests, in the order of the table in docs/testing.md.
pub(super) const BOOTS: &[Scenario] = &[
    Scenario {
        name: "save-restore",
        title: "a guest with two processors and their vectors is saved and restored with requests on their way",
        // Every page is copied twice.
        memory_mib: 64,
        vcpus: 2,
        words: &[Word::Nt(Version::Nt61)],
        exercise: Some(Exercise::Suspend),
        dom0: &[
            (When::Ready(Ready::Suspend), "bash save.sh"),
            // In the new domain, whose nodes say nothing of what the guest serves.
            (When::Resumed, "bash features.sh 1 1 1"),
        ],
        checks: &[IN_USE, VECTORS, RESUMED],
        ..PV_BOOT
    },
    Scenario {
        name: "copy",
        title: "a save that fails and a copy of the running guest: it goes on with its disks as they are",
        memory_mib: 64,
        vcpus: 2,
        exercise: Some(Exercise::Copy),
        dom0: &[(When::Ready(Ready::Copy), "bash copy.sh 32768")],
        checks: &[IN_USE, CANCELLED],
        runs: Runs::ByName,
        ..PV_BOOT
    },
];

/// The guest was suspended once, and its disks were connected again before the census.
pub(super) const RESUMED: Check = Check {
    what: "resumed in another domain, the disks connected again, unplugged again and counted",
    run: |seen, found| {
        found.same("resumes", seen.said("xenpci: resumed, "), 1);
        connected_again(seen, found);
        found.same("unplugs", seen.said("idefilter: unplug=acknowledged"), 2);
    },
};

/// Adds what differs where every disk was connected again, once, and then counted.
pub(super) fn connected_again(seen: &Seen<'_>, found: &mut Differences) {
    let disks = seen.scenario.expect.pv;
    let again = format!("xenvbd: {disks} disks connected again after a suspend, census taken");
    found.same("disks connected again", seen.said(&again), 1);
}

/// The guest was to be suspended twice, and went on each time with the backends that it had.
const CANCELLED: Check = Check {
    what: "the suspend is cancelled twice, and the disk goes on with its backend",
    run: |seen, found| {
        found.same("cancelled suspends", seen.said("xenpci: the suspend was cancelled"), 2);
        let goes_on =
            format!("xenvbd: {} disks go on after a suspend that was cancelled", seen.scenario.expect.pv);
        found.same("disks go on", seen.said(&goes_on), 2);
        found.same("disks connected again", seen.said("connected again"), 0);
        found.same("resumes", seen.said("xenpci: resumed, "), 0);
    },
};
