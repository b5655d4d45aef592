//! The PV CD-ROM drive.

use protocol::{Checksum, Exercise, Line, Ready};

use crate::{
    boot::{CDROM_SECTORS, cdrom},
    check::{Check, Differences, Seen},
    scenario::{Expect, PV, PV_BOOT, Runs, Scenario, When},
};

/// dom0's command that waits until the guest's own eject is told, and takes the medium out.
pub(crate) const TAKE_MEDIUM: &str = "for i in $(seq 200); do \
     [ \"$(xenstore-read /local/domain/$DOMID/device/vbd/5632/ejected)\" = 1 ] && \
     exec xl cd-eject $DOMID hdc; sleep 0.1; done; exit 1";
/// dom0's command that puts the medium in, where it is that of the job's second disk.
pub(crate) const GIVE_MEDIUM: &str = "xl cd-insert $DOMID hdc /dev/guest-disk1";

/// The guests, in the order of the table in docs/testing.md.
pub(super) const BOOTS: &[Scenario] = &[Scenario {
    name: "cdrom-pv",
    title: "the emulated CD-ROM drive is hidden with its controller; its vbd is read, ejected and loaded",
    cdrom: true,
    exercise: Some(Exercise::Cdrom),
    dom0: &[(When::Ready(Ready::Eject), TAKE_MEDIUM), (When::Ready(Ready::Insert), GIVE_MEDIUM)],
    expect: Expect { pv_cdroms: 1, ..PV },
    checks: &[ANSWERS],
    runs: Runs::InTurn,
    ..PV_BOOT
}];

/// The answers of a drive with one data track, from its whole content to its events.
const ANSWERS: Check = Check {
    what: "every sector as in the image, READ TOC, GET CONFIGURATION, each event and unit attention; \
           the census counts no drive",
    run: answers,
};

fn answers(seen: &Seen<'_>, found: &mut Differences) {
    let disc = cdrom();
    let hash = Checksum::of(&disc);
    let content = format!("blocks={CDROM_SECTORS} hash={hash:016x}");
    let end = format!("{CDROM_SECTORS:08x}");
    // The end in minutes, seconds and frames, after the two seconds before the first block.
    let frames = CDROM_SECTORS + 150;
    let end_msf = format!("00{:02x}{:02x}{:02x}", frames / 4500, frames / 75 % 60, frames % 75);
    let expected = [
        ("event", "event=2 status=2".to_owned()),
        ("profile", "bytes=0000001000000008".to_owned()),
        ("toc", format!("bytes=00120101001401000000000000 14aa00{end}").replace(' ', "")),
        ("toc-msf", format!("bytes=000a01010014aa00{end_msf}")),
        ("session", "bytes=000a01010014010000000000".to_owned()),
        ("content", content.clone()),
        ("write", "sense=0x72700".to_owned()),
        ("lock", "sense=0x0".to_owned()),
        ("eject-locked", "sense=0x55302".to_owned()),
        ("unlock", "sense=0x0".to_owned()),
        ("eject", "sense=0x0".to_owned()),
        ("ejected", "sense=0x23a02 event=3 status=1".to_owned()),
        ("load", "sense=0x0".to_owned()),
        ("loaded", "event=2 status=2 sense=0x62800 then-sense=0x0".to_owned()),
        ("eject-again", "sense=0x0 event=3 status=1".to_owned()),
        ("taken", "event=3 status=0 sense=0x23a01".to_owned()),
        ("given", "event=2 status=2 sense=0x62800".to_owned()),
        ("content-again", content),
    ];
    for (what, expected) in expected {
        let line = seen.lines(Line::Cd).find(|line| line.is("what", what)).map(|line| line.text.clone());
        let text = line.unwrap_or_default().replace(&format!("what={what} "), "");
        found.same(&format!("CD-ROM, {what}"), text, expected);
    }
    let counted = seen.observed.censuses.iter().all(|census| census.starts_with("own=1 "));
    found.holds("each census counts the disk alone", counted);
}
