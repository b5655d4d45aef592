//! Machines of other kinds: what a host may give a guest beside its disks.

use guard::Reason;

use crate::scenario::{Expect, PV, PV_BOOT, Runs, Scenario, emulated, xvd};

/// The guests, in the order of the table in docs/testing.md.
pub(super) const BOOTS: &[Scenario] = &[
    Scenario {
        name: "many-qdisks",
        title: "17 more disks of qdisk's, as vbds only",
        before: "for n in $(seq 17); do truncate -s 1M q$n.img || exit; done",
        config: &[QDISKS],
        more_vbds: &QDISK_VBDS,
        expect: Expect { pv: 18, ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "pv-only",
        title: "a guest without an emulated disk: its only disk is xvde, from which no firmware boots",
        before: "truncate -s 1M q1.img",
        disks: &[],
        config: &["disk += [ 'format=raw,vdev=xvde,access=rw,backendtype=qdisk,target=/run/job/q1.img' ]"],
        more_vbds: &[(QDISK_VBDS[0].0, 1)],
        expect: Expect { ide: 0, ..emulated(Reason::BootDiskWithoutVbd) },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "populate-on-demand",
        title: "a guest with half of its memory populated on demand (maxmem)",
        memory_mib: 96,
        config: &["maxmem = 192"],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "ballooned",
        title: "dom0 takes memory from a guest that has no balloon driver, and gives it back",
        created: "xl mem-set $DOMID 64 && xl mem-set $DOMID 128",
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "nested",
        title: "a guest with nested virtualisation and Hyper-V's interface",
        config: &["nestedhvm = 1", "viridian = 1"],
        runs: Runs::ByName,
        ..PV_BOOT
    },
    Scenario {
        name: "slow-dom0",
        title: "xenstore and the device model stand still for a second and a half again and again, all through the boot",
        created: "x=$(cat /run/xen/xenstored.pid); d=$(xenstore-read /local/domain/$DOMID/image/device-model-pid); \
                  (for n in $(seq 10); do kill -STOP $x; sleep 1.5; kill -CONT $x; sleep 0.5; kill -STOP $d; \
                  sleep 1.5; kill -CONT $d; sleep 0.5; done) >/dev/null 2>&1 &",
        runs: Runs::InTurn,
        ..PV_BOOT
    },
];

/// One more disk of qdisk's in the toolstack's words.
macro_rules! qdisks {
    ($($n:literal $vdev:literal),*) => {
        concat!("disk += [ ", $("'format=raw,vdev=", $vdev, ",access=rw,backendtype=qdisk,target=/run/job/q", $n, ".img', ",)* "]")
    };
}

const QDISKS: &str = qdisks!(
    1 "xvde", 2 "xvdf", 3 "xvdg", 4 "xvdh", 5 "xvdi", 6 "xvdj", 7 "xvdk", 8 "xvdl", 9 "xvdm", 10 "xvdn", 11 "xvdo",
    12 "xvdp", 13 "xvdq", 14 "xvdr", 15 "xvds", 16 "xvdt", 17 "xvdu"
);

/// Their vbds, all connected.
const QDISK_VBDS: [(u32, u32); 17] = {
    let mut vbds = [(0, 4); 17];
    let mut n = 0;
    while n < vbds.len() {
        vbds[n].0 = xvd(4 + n as u32);
        n += 1;
    }
    vbds
};
