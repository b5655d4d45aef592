//! Machines of other kinds: what a host may give a guest beside its disks.

use guard::Reason;

use crate::{
    check::Check,
    scenario::{BASE, Expect, PV, PV_BOOT, Runs, Scenario, emulated, xvd},
};

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
        name: "vbd-unwritable",
        title: "a node of its vbd is not the guest's to write, which no toolstack does: it is not connected, and NT has no disk",
        created: "p=/local/domain/$DOMID/device/vbd/768/event-channel; xenstore-write $p 0 && xenstore-chmod $p n0 r$DOMID",
        expect: Expect { pv: 0, ..PV },
        checks: &[NOT_CONNECTED],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "store-quota",
        title: "the guest may make no node of xenstore any more when it starts, and so could connect no vbd",
        created: NO_NODE_LEFT,
        last_word: false,
        expect: emulated(Reason::StoreFull),
        checks: &[NOT_TOLD],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "store-quota-emulated",
        title: "the emulated entry of that machine: the host is not told of the guard's state, and nothing else differs",
        created: NO_NODE_LEFT,
        last_word: false,
        checks: &[NOT_TOLD],
        runs: Runs::InTurn,
        ..BASE
    },
    Scenario {
        name: "store-quota-soon",
        title: "the guest's quota of nodes is used up while it boots: it has room for 32 when it starts",
        created: FEW_NODES_LEFT,
        last_word: false,
        checks: &[CONNECTED_BEFORE],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "store-watches",
        title: "the guest may watch one path of xenstore only",
        created: "xenstore-control quota set watches 1",
        checks: &[UNWATCHED],
        runs: Runs::InTurn,
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

/// See `what`.
const NOT_CONNECTED: Check = Check {
    what: "xenvbd says which node is refused, and that no PV disk is shown",
    run: |seen, found| {
        let refused =
            seen.report.debug("xenvbd: disk 768: node ").filter(|line| line.contains("xenstore answered E"));
        found.same("vbds that are not connected", refused.count(), 1);
        found.same("no PV disk", seen.said("xenvbd: no PV disk is shown: "), 1);
    },
};

/// See `what`.
const NOT_TOLD: Check = Check {
    what: "the host is not told of the guard's state, and xenpci says so",
    run: |seen, found| {
        let refused = "xenpci: the host cannot be told of the guard's state: xenstore answered ENOSPC";
        found.same("refusals of the guard's state", seen.said(refused), 1);
        let store = seen.boot.outcome.store_end.as_ref();
        let filled = store.is_some_and(|store| store.named("1000").next().is_some());
        found.holds("the filled store", filled);
    },
};

/// See `what`.
const CONNECTED_BEFORE: Check = Check {
    what: "the disk is connected before the quota is used up; what is refused behind it is said, and breaks nothing",
    run: |seen, found| {
        found.same(
            "a dump",
            seen.said("xenvbd: disk 768: no crash dump can be written to it: xenstore answered E"),
            1,
        );
    },
};

/// See `what`.
const UNWATCHED: Check = Check {
    what: "xenvbd says which changes it does not notice",
    run: |seen, found| {
        found.same(
            "a list without a watch",
            seen.said("xenvbd: disks that are attached or detached from now on are"),
            1,
        );
        found.same(
            "a backend without a watch",
            seen.said("xenvbd: target 0: changes of its backend are not noticed"),
            1,
        );
    },
};

/// Uses up the guest's quota of nodes.
const NO_NODE_LEFT: &str = "p=/local/domain/$DOMID/data/fill; w=; for n in $(seq 1000); do w=\"$w $p/$n x\"; done; \
                            xenstore-write $w && xenstore-chmod -r $p n$DOMID";

/// Leaves room for 32 nodes of the thousand that xenstored lets a guest have.
pub(super) const FEW_NODES_LEFT: &str = "p=/local/domain/$DOMID/data/fill; w=; h=$(xenstore-ls -fp / | grep -c \"(n$DOMID[,)]\"); \
                              for n in $(seq $((967 - h))); do w=\"$w $p/$n x\"; done; \
                              xenstore-write $w && xenstore-chmod -r $p n$DOMID";

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
