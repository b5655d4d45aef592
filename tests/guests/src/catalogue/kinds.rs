//! Disks without a volume, one of every kind that a backend may have.

use protocol::{Exercise, Line, Ready};

use crate::{
    boot,
    check::{Check, Differences, Seen},
    scenario::{Expect, PV, PV_BOOT, Raw, Runs, Scenario, When},
};

/// Disks of every kind.
const KINDS: [Raw; 5] = [Raw::Untrusted, Raw::Discard, Raw::QdiskDiscard, Raw::Blocks4096, Raw::ReadOnly];

/// dom0 says for the first disk that its backend is not trusted, for which xl has no word.
const DISKS_OF_KINDS: Scenario = Scenario {
    name: "kinds",
    title: "disks of a backend that is not trusted, of 4 KiB blocks, that can give up blocks, and read-only",
    raw: &KINDS,
    exercise: Some(Exercise::Kinds),
    // For this xl has no word.
    created: "xenstore-write /local/domain/$DOMID/device/vbd/51728/trusted 0",
    dom0: &[(When::Ready(Ready::Look), boot::LOOK_AT_HOLE)],
    expect: Expect { pv: 6, ..PV },
    checks: &[EACH_KIND, GRANTS],
    runs: Runs::InTurn,
    ..PV_BOOT
};

/// The guests, in the order of the table in docs/testing.md.
pub(super) const BOOTS: &[Scenario] = &[
    DISKS_OF_KINDS,
    Scenario {
        name: "kinds-persistent",
        title: "the same disks as in kinds, with persistent grants",
        registry: persistent_grants!(),
        checks: &[EACH_KIND, PERSISTENT_GRANTS],
        runs: Runs::ByName,
        ..DISKS_OF_KINDS
    },
    Scenario {
        name: "srb-functions",
        title: "SRBs of every function but a command's come to the disk, to another unit of its target, and where nothing is",
        exercise: Some(Exercise::Functions),
        checks: &[EACH_FUNCTION],
        runs: Runs::InTurn,
        ..PV_BOOT
    },
];

/// Each SRB is answered; the fields that its function says nothing of are not looked at.
const EACH_FUNCTION: Check = Check {
    what: "shutdown and flush, three resets, power and PnP succeed at the disk, and every other SRB is refused; what is asked \
           of the adapter is not answered for the disk",
    run: |seen, found| {
        let lines: Vec<_> = seen.lines(Line::Functions).map(|line| line.text.clone()).collect();
        found.same(
            "answers",
            lines,
            [
                "at=adapter status=0x1 capabilities=0x0",
                "at=unit status=0x1 n=7 functions=7,8,18,19,32,36,37",
                "at=unit status=0x6 n=248 functions=others",
                "at=other-unit status=0x1 n=5 functions=18,19,32,36,37",
                "at=other-unit status=0x6 n=250 functions=others",
                "at=no-target status=0x1 n=3 functions=18,36,37",
                "at=no-target status=0x8 n=252 functions=others",
            ]
            .map(str::to_owned)
            .to_vec(),
        );
    },
};

/// Each disk's answers, and its image.
const EACH_KIND: Check = Check {
    what: "block size and write protection are told; written data is on the image and nothing else is; \
           UNMAP made a hole in dom0's file, read as zeros",
    run: each_kind,
};

fn each_kind(seen: &Seen<'_>, found: &mut Differences) {
    for (n, (kind, image)) in seen.scenario.raw.iter().zip(&seen.boot.raw).enumerate() {
        let disk = n as u64 + 1;
        let block = if *kind == Raw::Blocks4096 { 4096 } else { 512 };
        let (protected, wrote) = if *kind == Raw::ReadOnly { (1, "072700") } else { (0, "ok") };
        // dom0's own disks, too, can give up blocks; only of a loop device's it is sure that they are zeros
        // then.
        let (thin, unmapped) = if *kind == Raw::ReadOnly { (0, "no") } else { (1, "ok") };
        let zero = u8::from(matches!(kind, Raw::Blocks4096 | Raw::Discard | Raw::QdiskDiscard));
        let back = if *kind == Raw::ReadOnly { "other" } else { "same" };
        let expected = format!(
            "disk={disk} block={block} protected={protected} thin={thin} wrote={wrote} flushed=ok read=ok \
             back={back} unmapped={unmapped} zero={zero}"
        );
        let line = seen.lines(Line::Kind).find(|line| line.number("disk") == Some(disk));
        found.same(&format!("{kind:?}"), line.map(|line| line.text.clone()).unwrap_or_default(), expected);

        // What the guest wrote and gave up, and nothing else; the files that can have holes stay in dom0,
        // which has looked at them.
        let elsewhere = matches!(kind, Raw::ReadOnly | Raw::Discard | Raw::QdiskDiscard);
        let written = |at: usize| !elsewhere && (512..768).contains(&(at >> 10));
        let wrong = (0..image.len()).find(|&at| {
            let expected = if written(at) {
                ((at - (512 << 10)) / 512 * 7 + disk as usize) as u8
            } else if *kind == Raw::Blocks4096 && (1024..1536).contains(&(at >> 10)) {
                0
            } else {
                boot::RAW_FILL
            };
            image[at] != expected
        });
        found.same(&format!("{kind:?}: first wrong byte of the image"), wrong, None);
    }
}

/// Grants without persistent grants.
const GRANTS: Check = Check {
    what: "no page of the system's was granted to the untrusted backend",
    run: |seen, found| grants(seen, false, found),
};

/// Grants with persistent grants.
const PERSISTENT_GRANTS: Check = Check {
    what: "nothing was granted while requests ran, where the backend offers persistent grants",
    run: |seen, found| grants(seen, true, found),
};

fn grants(seen: &Seen<'_>, persistent: bool, found: &mut Differences) {
    for (n, kind) in seen.scenario.raw.iter().enumerate() {
        // xvdb is vbd 51728.
        let disk = format!("xenvbd: disk {}: ", 51728 + 16 * n);
        // qdisk does not offer them.
        let grants = if persistent && *kind != Raw::QdiskDiscard { "persistent" } else { "single" };
        let said = seen.report.debug(&disk).find(|line| line.ends_with(" grants")).unwrap_or_default();
        found.holds(&format!("{kind:?}: {grants} grants"), said.ends_with(&format!(" {grants} grants")));
        // The driver counts, and says when a disk goes: dom0 detaches the first two.
        let counters = seen.report.debug(&disk).find_map(|line| line.split_once("granted: "));
        let granted = counters.and_then(|(_, rest)| rest.split(',').next()?.parse::<u64>().ok());
        let granted = match granted {
            None => "not told",
            Some(0) => "none",
            Some(_) => "some",
        };
        let expected = match kind {
            _ if n >= boot::RAW_DETACHED => "not told",
            Raw::Untrusted => "none",
            _ if persistent => "none",
            _ => "some",
        };
        found.same(&format!("{kind:?}: requests whose own pages were granted"), granted, expected);
    }
}
