//! A guest's life as it was seen, held against what must be: no wrong data, no failed request but of a disk that was taken by
//! force, every disk used and gone without a rest, and at the end no more in use than a few minutes in.

use std::{collections::BTreeMap, time::Duration};

use guard::{Reason, message};
use protocol::{Checksum, Line, hours};
use rig::{Backend, End, MarkResult, Outcome, Report, report};
use volume::Verdict;

use super::{
    super::{Free, SLACK, saves},
    plan::{Life, Step},
};
use crate::{
    boot::{CDROM_SECTORS, SIGNATURE, cdrom},
    verdict::Observed,
};

/// The image of a disk when the guest has ended.
pub(super) struct Image {
    /// The judgement of its volume.
    pub volume: volume::Report,
    /// The checksum of the sectors that the guest wrote beside it.
    pub checksum: u64,
}

/// Growth from a few minutes in to the end, at most of some lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::endurance) struct Growth {
    /// The drivers' blocks of pool, and their bytes.
    pub blocks: i64,
    /// Bytes of these blocks.
    pub bytes: i64,
    /// Grants that the drivers have made.
    pub granted: i64,
    /// Grants that somebody uses, as Xen counts.
    pub used: i64,
    /// Memory that Xen has given away, in MiB.
    pub mib: i64,
    /// Nodes of xenstore that are not the guest's.
    pub nodes: i64,
}

impl Growth {
    fn most(self, other: Self) -> Self {
        Self {
            blocks: self.blocks.max(other.blocks),
            bytes: self.bytes.max(other.bytes),
            granted: self.granted.max(other.granted),
            used: self.used.max(other.used),
            mib: self.mib.max(other.mib),
            nodes: self.nodes.max(other.nodes),
        }
    }

    /// Returns true if nothing has grown but by chance.
    fn is_none(self) -> bool {
        let pool = self.blocks <= saves::POOL.0 as i64 && self.bytes <= saves::POOL.1 as i64;
        pool && self.mib <= SLACK && [self.granted, self.used, self.nodes].iter().all(|growth| *growth <= 0)
    }
}

/// Memory, grants and nodes in use while the system rested.
#[derive(Clone, Copy)]
struct Rest {
    blocks: u64,
    bytes: u64,
    granted: u64,
    xen: Free,
    nodes: i64,
}

impl Rest {
    /// Reads the line of a rest, and what dom0 told then.
    fn read(line: &report::Line, told: &str) -> Option<Self> {
        let nodes = told.lines().find_map(|line| line.strip_prefix("@nodes ")?.trim().parse().ok());
        Some(Self {
            blocks: line.number("blocks")?,
            bytes: line.number("bytes")?,
            granted: line.number("granted")?,
            xen: *Free::all(told).first()?,
            nodes: nodes?,
        })
    }

    fn growth(self, later: Self) -> Growth {
        let grown = |before: u64, after: u64| after as i64 - before as i64;
        Growth {
            blocks: grown(self.blocks, later.blocks),
            bytes: grown(self.bytes, later.bytes),
            granted: grown(self.granted, later.granted),
            used: i64::from(later.xen.grants) - i64::from(self.xen.grants),
            mib: self.xen.mib - later.xen.mib,
            nodes: later.nodes - self.nodes,
        }
    }
}

/// A use of a disk, as the guest counted it.
struct Use {
    disk: u32,
    signature: u64,
    taken: bool,
    reads: u64,
    writes: u64,
    flushes: u64,
    files: u64,
    failed: u64,
    differing: u64,
    checksum: u64,
}

impl Use {
    fn read(line: &report::Line) -> Option<Self> {
        Some(Self {
            disk: u32::try_from(line.number("disk")?).ok()?,
            signature: line.number("signature")?,
            taken: line.number("taken")? == 1,
            reads: line.number("reads")?,
            writes: line.number("writes")?,
            flushes: line.number("flushes")?,
            files: line.number("files")?,
            failed: line.number("failed")?,
            differing: line.number("differing")?,
            checksum: line.number("hash")?,
        })
    }
}

/// Totals of the lives so far.
#[derive(Clone, Debug, Default)]
pub(in crate::endurance) struct Hours {
    /// Time of the guests, from creation to end.
    pub time: Duration,
    /// Lives that came to an end.
    pub lives: u32,
    /// Lives that the rig failed.
    pub lost: u32,
    /// Disks of blkback's and of qdisk's that were attached.
    pub attached: [u32; 2],
    /// Disks that left in order.
    pub detached: u32,
    /// Detaches that the toolstack had to ask for again.
    pub again: u32,
    /// Disks that were taken by force.
    pub taken: u32,
    /// Exchanges of the CD-ROM drive's medium.
    pub exchanged: u32,
    /// Reads that were compared.
    pub reads: u64,
    /// Writes of sectors.
    pub writes: u64,
    /// Flushes beside those of files.
    pub flushes: u64,
    /// Files that were written and flushed.
    pub files: u64,
    /// Requests that failed with a disk that was taken by force.
    pub failed: u64,
    /// Reads that brought other data than was written.
    pub differing: u64,
    /// The largest growth.
    pub growth: Growth,
    /// Whatever is not as it must be, a line each.
    pub wrong: Vec<String>,
}

impl Hours {
    /// Adds those of other lives.
    pub(super) fn add(&mut self, other: &Self) {
        let Self { time, lives, lost, attached, detached, again, taken, exchanged, .. } = other;
        self.time += *time;
        self.lives += lives;
        self.lost += lost;
        for (sum, more) in self.attached.iter_mut().zip(attached) {
            *sum += more;
        }
        self.detached += detached;
        self.again += again;
        self.taken += taken;
        self.exchanged += exchanged;
        self.reads += other.reads;
        self.writes += other.writes;
        self.flushes += other.flushes;
        self.files += other.files;
        self.failed += other.failed;
        self.differing += other.differing;
        self.growth = self.growth.most(other.growth);
        self.wrong.extend_from_slice(&other.wrong);
    }

    /// Returns the guest-hours.
    pub(in crate::endurance) fn guest_hours(&self) -> f64 {
        self.time.as_secs_f64() / 3600.0
    }

    /// Judges a life. `images` are those of the system's disk and of the two that came.
    pub(super) fn of(life: &Life, outcome: &Outcome, images: &[Image; 3]) -> Self {
        let mut this = Self { time: outcome.guest_time, lives: 1, ..Self::default() };
        let report = outcome.report();
        let steps = life.steps();
        let done: Vec<(Step, &MarkResult)> =
            outcome.marks.iter().filter_map(|mark| Some((*steps.get(mark.mark)?, mark))).collect();
        this.take_dom0(life, &done);
        this.take_uses(&report, images);
        this.take_disks(&report, images);
        this.take_medium(&report);
        this.take_rests(&report, &done, outcome);
        this.take_system(&report, outcome.end);
        for line in &mut this.wrong {
            *line = format!("seed {}: {line}", life.seed);
        }
        this
    }

    fn must(&mut self, what: impl Into<String>, so: bool) {
        if !so {
            self.wrong.push(what.into());
        }
    }

    /// Takes what dom0 did.
    fn take_dom0(&mut self, life: &Life, done: &[(Step, &MarkResult)]) {
        for (step, mark) in done {
            self.must(format!("dom0: {step:?}: {}", mark.output.trim()), mark.status == Some(0));
            match step {
                Step::Attach(cycle) => match life.coming(*cycle).map(|coming| coming.backend) {
                    Some(Backend::Qdisk) => self.attached[1] += 1,
                    _ => self.attached[0] += 1,
                },
                Step::Detach(_) | Step::Force(_) => {
                    let asked_again = mark.output.lines().filter(|line| *line == "again").count();
                    self.again += asked_again as u32;
                    match step {
                        Step::Force(_) => self.taken += 1,
                        _ => self.detached += 1,
                    }
                }
                Step::Insert(_) => self.exchanged += 1,
                Step::Look(_) | Step::Shutdown | Step::Eject(_) => {}
            }
        }
        let went = self.detached + self.taken;
        self.must(format!("{} disks came and {went} went", self.came()), self.came() == went);
        self.must("no disk came behind the first rest", self.came() > hours::WARM_UP);
    }

    /// Returns how many disks were attached.
    pub(in crate::endurance) fn came(&self) -> u32 {
        self.attached.iter().sum()
    }

    /// Takes the uses of each disk, and holds what the guest wrote last against the images.
    fn take_uses(&mut self, report: &Report, images: &[Image; 3]) {
        for line in report.all(Line::Differs.name()) {
            self.wrong.push(format!("wrong data: {}", line.text));
        }
        let lines = || report.all(Line::Used.name());
        let uses: Vec<Use> = lines().filter_map(Use::read).collect();
        self.must("a use of a disk that cannot be read", uses.len() == lines().count());
        let mut last = BTreeMap::new();
        for one in &uses {
            self.reads += one.reads;
            self.writes += one.writes;
            self.flushes += one.flushes;
            self.files += one.files;
            self.differing += one.differing;
            let name = format!("use of disk {}", one.disk);
            let used = one.reads > 0 && one.writes > 0 && one.flushes > 0 && one.files > 0;
            self.must(format!("{name}: it was not used in every way"), used);
            self.must(format!("{name}: {} reads brought wrong data", one.differing), one.differing == 0);
            if one.taken {
                self.failed += one.failed;
                self.must(format!("{name}: no request has failed, and it was taken"), one.failed > 0);
            } else {
                self.must(format!("{name}: {} requests have failed", one.failed), one.failed == 0);
            }
            last.insert(one.signature, one);
        }
        let times = |disk: u32| uses.iter().filter(|one| one.disk == disk).count();
        self.must(format!("the system's disk was used {} times, not twice", times(0)), times(0) == 2);
        for disk in 1..=self.came() {
            self.must(format!("disk {disk} was used {} times", times(disk)), times(disk) == 1);
        }
        let taken = uses.iter().filter(|one| one.taken).count() as u32;
        self.must(format!("{taken} loads ended by force, of {}", self.taken), taken == self.taken);
        for (n, image) in images.iter().enumerate() {
            let written = last.get(&u64::from(SIGNATURE + n as u32)).filter(|one| !one.taken);
            let same = written.is_some_and(|one| one.checksum == image.checksum);
            self.must(format!("image {n} has other data than the guest wrote last"), same);
        }
    }

    /// Takes the disks that came and went, and their volumes.
    fn take_disks(&mut self, report: &Report, images: &[Image; 3]) {
        let seen = Observed::of(report);
        let came = self.came() as usize;
        let disks = (seen.ide, seen.pv, seen.other);
        self.must(format!("IDE, PV and other disks: {disks:?}, {came} came"), disks == (0, 1 + came, 0));
        let mounts: Vec<_> = report.all(Line::Mount.name()).collect();
        for mount in mounts.iter().filter(|mount| !mount.is("status", "ok")) {
            self.wrong.push(format!("mount {}", mount.text));
        }
        // A volume whose removal is vetoed is mounted again.
        let ejected = |good: bool| {
            report.all(Line::Ejected.name()).filter(|line| line.is("status", "0x0") == good).count()
        };
        let most = 1 + came + ejected(false);
        let mounted = (1 + came..=most).contains(&mounts.len());
        self.must(format!("{} mounts of {came} disks that came", mounts.len()), mounted);
        self.must(
            format!("PnP ejects {} disks of {}", ejected(true), self.detached),
            ejected(true) == self.detached as usize,
        );
        let dismounts = |text: &str| {
            report.all(Line::Dismount.name()).filter(|line| line.text.ends_with(text)).count() as u32
        };
        let dismounted = (dismounts(" clean=1 lost=0"), dismounts(" clean=0 lost=0"));
        self.must(
            format!("volumes that were dismounted in order, and not: {dismounted:?}"),
            dismounted == (self.detached, self.taken),
        );
        let gone: Vec<_> = report.all(Line::Gone.name()).collect();
        self.must(format!("{} disks are gone of {came}", gone.len()), gone.len() == came);
        for line in gone.iter().filter(|line| !line.is("left", "0")) {
            self.wrong.push(format!("something is left of a disk: {}", line.text));
        }
        for (n, Image { volume, .. }) in images.iter().enumerate() {
            let label = format!("DATA{n}");
            let times = mounts.iter().filter(|mount| mount.is("label", &label)).count() as u64;
            self.must(format!("image {n} is {volume}"), volume.verdict == Verdict::Intact);
            self.must(
                format!("image {n} has generation {}, and {times} mounts were seen", volume.generation),
                volume.generation == 1 + times,
            );
        }
    }

    /// Takes the exchanges of the CD-ROM drive's medium.
    fn take_medium(&mut self, report: &Report) {
        let expected = format!(
            " sense=0x0 event=3 status=1 event=3 status=0 event=2 status=2 sense=0x62800 blocks={CDROM_SECTORS} hash={:016x}",
            Checksum::of(&cdrom())
        );
        let lines: Vec<_> = report.all(Line::Cd.name()).filter(|line| line.is("what", "exchanged")).collect();
        self.must(
            format!("{} exchanges of the medium, of {}", lines.len(), self.exchanged),
            lines.len() == self.exchanged as usize && self.exchanged > 0,
        );
        for line in lines.iter().filter(|line| !line.text.ends_with(&expected)) {
            self.wrong.push(format!("CD-ROM: {}", line.text));
        }
    }

    /// Takes what was in use at the two rests, and when the guest had ended.
    fn take_rests(&mut self, report: &Report, done: &[(Step, &MarkResult)], outcome: &Outcome) {
        let rest = |number: u32| {
            let line = report.find(Line::Quiet.name(), "number", &number.to_string())?;
            let (_, mark) = done.iter().find(|(step, _)| *step == Step::Look(number))?;
            Rest::read(line, &mark.output)
        };
        match (rest(1), rest(2)) {
            (Some(first), Some(last)) => {
                self.growth = first.growth(last);
                self.must(
                    format!("in use at the end and not before: {:?}", self.growth),
                    self.growth.is_none(),
                );
                let domains = (first.xen.domains, last.xen.domains);
                self.must(format!("domains: {domains:?}"), domains.0 == domains.1);
            }
            _ => self.wrong.push("it is not known what was in use at the two rests".to_owned()),
        }
        let end = Free::all(&outcome.after).first().copied();
        let gone = end.is_some_and(|end| (end.domains, end.grants) == (1, 0));
        self.must(format!("something is left of the guest: {end:?}"), gone);
    }

    /// Takes the boot as such.
    fn take_system(&mut self, report: &Report, end: End) {
        let seen = Observed::of(report);
        self.must(format!("decision {:?}", seen.decision), seen.decision == Some(Reason::PvSelected));
        self.must(format!("violations {:?}", seen.violations), seen.violations.is_empty());
        self.must(format!("bugcheck {:x?}", seen.bugcheck), seen.bugcheck.is_none());
        let ended = (seen.verdict.as_deref(), end);
        self.must(format!("end {ended:?}"), ended == (Some("clean"), End::PoweredOff));
        self.must(
            "it did not end because dom0 asked",
            report.find(Line::Asked.name(), "by", "control").is_some(),
        );
        let expected = format!("{:#x}", message::code(Reason::PvSelected));
        for event in report.all(Line::Event.name()).filter(|event| !event.is("code", &expected)) {
            self.wrong.push(format!("event log: {}", event.text));
        }
        for reset in report.all(Line::Reset.name()) {
            self.wrong.push(format!("a request was out of time: reset {}", reset.text));
        }
        for line in report.debug("grant references are given back that nobody has") {
            self.wrong.push(line.to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
