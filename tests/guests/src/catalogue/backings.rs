//! Two vbds on one backing, and vbds that only look like it.

use guard::Reason;
use protocol::{Exercise, Fault, Ready, Word};

use super::disks::HOTPLUG;
use crate::{
    check::Check,
    checks::load::ended_well,
    dump::file::WHOLE,
    scenario::{Backend, Ending, Expect, PV, PV_BOOT, Raw, Runs, Scenario, When, emulated},
};

/// xvde and xvdf.
const XVDE: u32 = 202 << 8 | 4 << 4;
const XVDF: u32 = 202 << 8 | 5 << 4;

/// Gives the guest a vbd of qemu's over what is hda's.
const QDISK_AGAIN: &str =
    "xl block-attach $DOMID format=raw,vdev=xvde,access=rw,backendtype=qdisk,target=/dev/guest-disk0";
/// The same over blkback, by another name of the device.
const BLKBACK_AGAIN: &str = "ln -s guest-disk0 /dev/another-name && xl block-attach $DOMID \
     format=raw,vdev=xvde,access=rw,backendtype=phy,script=/run/job/block-fast.sh,target=/dev/another-name";
/// The command of [`QDISK_AGAIN`] while the guest runs; the guest's end must say why it does not connect.
const HOTPLUG_AGAIN: &str = "xl block-attach $DOMID \
     format=raw,vdev=xvde,access=rw,backendtype=qdisk,target=/dev/guest-disk0 || exit; \
     for i in $(seq 100); do case $(xenstore-read /local/domain/$DOMID/error/device/vbd/51776/error) in \
     *'vbd 768') exit 0;; esac; sleep 0.1; done; exit 1";
/// Attaches a device through qemu's backend, by a device node of another name.
macro_rules! by_unknown_name {
    ($device:literal) => {
        concat!(
            "cp -a ",
            $device,
            " /dev/one-more && xl block-attach $DOMID format=raw,vdev=xvde,access=rw,backendtype=qdisk,target=/dev/one-more"
        )
    };
}
/// The same with what is xvdb's.
macro_rules! again_by_unknown_name {
    () => {
        by_unknown_name!("$(readlink -f /dev/guest-disk1)")
    };
}
/// Has dom0 forget what it has read, for 20 seconds from some time on.
macro_rules! forget {
    ($wait:literal) => {
        concat!(
            "(",
            $wait,
            "for i in $(seq 100); do echo 1 >/proc/sys/vm/drop_caches; sleep 0.2; done >/dev/null 2>&1 &)"
        )
    };
}
/// Attaches what is xvdb's by such a name; the guest's end must say why it does not connect.
const UNKNOWN_NAME: &str = concat!(
    again_by_unknown_name!(),
    " || exit; for i in $(seq 100); do case $(xenstore-read /local/domain/$DOMID/error/device/vbd/51776/error) in \
     *'vbd 51728') exit 0;; esac; sleep 0.1; done; exit 1"
);
/// The same while there is nothing on the disk by which it could be refused. Dom0 forgets what it has read of it by
/// the second name, since the first writes past that.
const UNKNOWN_NAME_OF_BLANK: &str = concat!(again_by_unknown_name!(), " && ", forget!(""));
/// The same, and dom0 forgets it only after some seconds, in which the second name shows what was there before.
const STALE_NAME_OF_BLANK: &str = concat!(again_by_unknown_name!(), " && ", forget!("sleep 8; "));
/// Attaches another device by such a name.
const ANOTHER_BY_UNKNOWN_NAME: &str =
    concat!("truncate -s 8M other.img && ", by_unknown_name!("$(losetup --show -f other.img)"));
/// Restarts xvdb's backend over what is hda's: it closes, and when it comes back it has another device.
const OTHERS_BACKING: &str = "b=/local/domain/0/backend/vbd/$DOMID && cd /sys/bus/xen-backend/drivers/vbd && \
     xenstore-write $b/51728/physical-device $(xenstore-read $b/768/physical-device) $b/51728/state 5 && \
     sleep 2 && echo vbd-$DOMID-51728 >unbind && sleep 1 && echo vbd-$DOMID-51728 >bind";
/// Has xvdb's backend close, and come back with a third device by the same name. blkback keeps the device that it has until it
/// is unbound, which has to come before xvdb's driver has asked it for new rings.
const EXCHANGED: &str = "b=/local/domain/0/backend/vbd/$DOMID/51728; truncate -s 8M other.img && \
     d=$(losetup --show -f other.img) && cd /sys/bus/xen-backend/drivers/vbd && \
     xenstore-write $b/physical-device $(stat -L -c %t:%T $d) $b/state 5 && echo vbd-$DOMID-51728 >unbind && \
     sleep 1 && echo vbd-$DOMID-51728 >bind";
/// Two vbds of blkback's over one loop device, both read-only. qemu 7.2 refuses a disk that is not writable.
const READ_ONLY_TWICE: &str = "truncate -s 2M both.img && d=$(losetup --show -r -f both.img) && for v in xvde xvdf; do \
     xl block-attach $DOMID format=raw,vdev=$v,access=ro,backendtype=phy,script=/run/job/block-fast.sh,target=$d || exit; \
     done";
/// Removes what is hda's, as a toolstack does after its backend's domain has crashed, and makes it anew, while the
/// guest cannot look.
const REPLACED: &str = "f=/local/domain/$DOMID/device/vbd/768; b=/local/domain/0/backend/vbd/$DOMID/768; n=; \
     k=\"$f/backend $f/backend-id $f/virtual-device $f/device-type $b/frontend $b/frontend-id $b/params \
     $b/physical-device $b/mode $b/online $b/dev $b/type\"; v=$(xenstore-read $k) && set -- $v || exit; \
     for k in $k; do n=\"$n $k $1\"; shift; done; \
     xl pause $DOMID && xenstore-rm $f && xenstore-rm $b && sleep 2 && \
     xenstore-chmod /local/domain/0/backend/vbd/$DOMID n0 r$DOMID && \
     xenstore-chmod /local/domain/$DOMID/device/vbd n$DOMID r0 && \
     xenstore-write $n $b/state 1 $f/state 1 && sleep 1 && xl unpause $DOMID";
/// Has xvdb's nodes removed and made anew for a third device, while the guest cannot look.
const REPLACED_BY_ANOTHER: &str = "truncate -s 8M other.img && d=$(losetup --show -f other.img) || exit; \
     f=/local/domain/$DOMID/device/vbd/51728; b=/local/domain/0/backend/vbd/$DOMID/51728; \
     n=\"$b/params $d $b/physical-device $(stat -L -c %t:%T $d)\"; \
     k=\"$f/backend $f/backend-id $f/virtual-device $f/device-type $b/frontend $b/frontend-id \
     $b/mode $b/online $b/dev $b/type\"; v=$(xenstore-read $k) && set -- $v || exit; \
     for k in $k; do n=\"$n $k $1\"; shift; done; \
     xl pause $DOMID && xenstore-rm $f && xenstore-rm $b && sleep 2 && \
     xenstore-chmod /local/domain/0/backend/vbd/$DOMID n0 r$DOMID && \
     xenstore-chmod /local/domain/$DOMID/device/vbd n$DOMID r0 && \
     xenstore-write $n $b/state 1 $f/state 1 && sleep 1 && xl unpause $DOMID";

/// The guests, in the order of the table in docs/testing.md.
pub(super) const BOOTS: &[Scenario] = &[
    Scenario {
        name: "twice-qdisk",
        title: "hda and xvde are the same file behind qemu's backend",
        disks: &[Backend::Qdisk],
        created: QDISK_AGAIN,
        more_vbds: &[(XVDE, 1)],
        expect: emulated(Reason::BackingShared),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "twice-hotplug",
        title: "a second vbd over the disk's backing is attached while the system runs",
        exercise: Some(Exercise::Refused),
        dom0: &[(When::Ready(Ready::Attach), HOTPLUG_AGAIN)],
        logged: &[Reason::BackingRefused],
        ..PV_BOOT
    },
    Scenario {
        name: "twice-signed",
        title: "a blank disk gets a partition table, and then a second vbd over it is attached, by a name that tells nothing",
        raw: &[Raw::Plain],
        exercise: Some(Exercise::Refused),
        dom0: &[(When::Ready(Ready::Attach), UNKNOWN_NAME)],
        expect: Expect { pv: 2, ..PV },
        logged: &[Reason::BackingRefused],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "twice-blank",
        title: "a second vbd over a blank disk is attached, by a name that tells nothing, and then the disk gets a partition table, which the second shows later",
        raw: &[Raw::Plain],
        fault: Some(Fault::SignedTwice),
        dom0: &[(When::Ready(Ready::Attach), STALE_NAME_OF_BLANK)],
        visitors: 1,
        expect: Expect { pv: 3, stop: Some((Reason::SharedExposed, 3, 3)), ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "twice-set-up",
        title: "the same, and both disks get partition tables, one right behind the other",
        raw: &[Raw::Plain],
        fault: Some(Fault::SetUpTwice),
        dom0: &[(When::Ready(Ready::Attach), UNKNOWN_NAME_OF_BLANK)],
        visitors: 1,
        expect: Expect { pv: 3, stop: Some((Reason::SharedExposed, 3, 3)), ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "twice-unread",
        title: "a second vbd is attached of which nobody can read what is on it, and of which nobody knows where it is",
        exercise: Some(Exercise::Refused),
        dom0: &[(When::Ready(Ready::Attach), "./dom0 hostile unread $DOMID")],
        logged: &[Reason::BackingRefused],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "clone-made",
        title: "of two blank disks nobody tells where they are; both get partition tables, and then one is copied onto the other",
        raw: &[Raw::Plain],
        fault: Some(Fault::Cloned),
        dom0: &[(When::Ready(Ready::Attach), ANOTHER_BY_UNKNOWN_NAME)],
        visitors: 1,
        expect: Expect { pv: 3, ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "twice-swapped",
        title: "a disk's backend is restarted over another disk's backing: the disk goes, the other stays",
        late_disks: &[Backend::Blkback],
        dom0: &[
            (When::Ready(Ready::Attach), "bash attach-1.sh"),
            (When::Ready(Ready::Force), OTHERS_BACKING),
        ],
        logged: &[Reason::BackingRefused],
        ..HOTPLUG
    },
    Scenario {
        name: "backing-exchanged",
        title: "a disk's backend closes, and comes back with a third device by the same name: the disk goes",
        late_disks: &[Backend::Blkback],
        dom0: &[(When::Ready(Ready::Attach), "bash attach-1.sh"), (When::Ready(Ready::Force), EXCHANGED)],
        runs: Runs::InTurn,
        ..HOTPLUG
    },
    Scenario {
        name: "clone-attached",
        title: "a clone of the disk, on a backing of its own, is attached, used and detached",
        late_disks: &[Backend::Blkback],
        created: "dd if=/dev/guest-disk0 of=/dev/guest-disk1 bs=1M conv=fsync",
        logged: &[Reason::CloneSeen],
        runs: Runs::ByName,
        ..HOTPLUG
    },
    Scenario {
        name: "twice-blkback",
        title: "hda and xvde are the same device behind blkback, by two names",
        created: BLKBACK_AGAIN,
        more_vbds: &[(XVDE, 1)],
        expect: emulated(Reason::BackingShared),
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    Scenario {
        name: "twice-read-only",
        title: "two vbds over one backing that both may only read, as of one ISO image",
        created: READ_ONLY_TWICE,
        more_vbds: &[(XVDE, 4), (XVDF, 4)],
        expect: Expect { pv: 3, ..PV },
        runs: Runs::InTurn,
        ..PV_BOOT
    },
    VBD_REPLACED,
    Scenario {
        name: "vbd-replaced-by-another",
        title: "a vbd's nodes are removed and made anew at their path for a third device: the disk goes, the device is a new one",
        late_disks: &[Backend::Blkback],
        dom0: &[
            (When::Ready(Ready::Attach), "bash attach-1.sh"),
            (When::Ready(Ready::Force), REPLACED_BY_ANOTHER),
        ],
        visitors: 1,
        expect: Expect { pv: 3, ..HOTPLUG.expect },
        runs: Runs::InTurn,
        ..HOTPLUG
    },
    Scenario {
        name: "crash-dump-replaced",
        title: "the same, and a bugcheck behind it: the copy finds the vbd that was made anew, and writes a dump",
        registry: dump!(),
        fault: Some(Fault::LateCrash),
        expect: Expect { ending: Ending::Crash(0xE2), ..PV },
        checks: &[WHOLE, MADE_ANEW],
        ..VBD_REPLACED
    },
];

/// A guest whose vbd is made anew under it.
const VBD_REPLACED: Scenario = Scenario {
    name: "vbd-replaced",
    title: "a vbd's nodes are removed and made anew at their path, with requests on their way",
    words: &[Word::Outage { disk: 0, seconds: 25 }],
    exercise: Some(Exercise::Outage),
    dom0: &[(When::Ready(Ready::Outage), REPLACED)],
    checks: &[MADE_ANEW],
    runs: Runs::InTurn,
    ..PV_BOOT
};

/// The disk was connected to the backend that took its backend's place.
const MADE_ANEW: Check = Check {
    what: "connected again once, every request ended well",
    run: |seen, found| {
        ended_well(seen, found);
        found.same("vbds made anew", seen.said("xenvbd: disk 768: its xenstore nodes were made anew"), 1);
    },
};
