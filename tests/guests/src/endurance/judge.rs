//! Boots of the endurance run as they were seen, held against each other: what a boot has flushed, every later one has.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::{Context, Result};
use guard::Reason;
use protocol::Line;
use rig::Report;

use super::{FILES, plan::Planned};
use crate::verdict::Observed;

/// The moment at which the power went, by the last thing that the guest had told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moment {
    /// idefilter had not decided.
    BeforeTheDecision,
    /// The decision was made, and the volume was not mounted.
    BeforeTheMount,
    /// The volume was mounted, and no file of the run written.
    Mounted,
    /// Files were written.
    Writing,
    /// The last file was flushed: the system runs idle, or goes down.
    Written,
}

impl Moment {
    fn of(report: &Report, files: usize) -> Self {
        let has = |line: Line| report.first(line.name()).is_some();
        let decided = report.debug("idefilter: mode=").next().is_some();
        match report.all(Line::Flushed.name()).count() {
            flushed if flushed == files => Self::Written,
            _ if has(Line::Written) => Self::Writing,
            _ if has(Line::Mount) => Self::Mounted,
            _ if decided => Self::BeforeTheMount,
            _ => Self::BeforeTheDecision,
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeTheDecision => "before the decision",
            Self::BeforeTheMount => "between decision and mount",
            Self::Mounted => "mounted, before the first file",
            Self::Writing => "while files were written",
            Self::Written => "behind the last file, or at the shutdown",
        })
    }
}

/// The end of a boot, as dom0 saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself, after this time.
    Whole(Duration),
    /// By its power.
    Cut,
}

/// Reads what dom0 says of each boot of a batch (`tests/rig/dom0/boot.sh`).
///
/// # Errors
/// It says something else: a boot did not end in its time, or dom0 failed.
pub(super) fn ends(batch: &str) -> Result<Vec<Ended>> {
    let lines = batch.lines().filter_map(|line| line.strip_prefix("@boot "));
    let end = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let took = || Some(Duration::from_millis(words.get(2)?.parse().ok()?));
        match words.get(1).copied() {
            Some("cut") => Some(Ended::Cut),
            Some("whole" | "ended") => took().map(Ended::Whole),
            _ => None,
        }
    };
    lines.map(|line| end(line).with_context(|| format!("dom0 says of a boot: {line}\n{batch}"))).collect()
}

/// Totals of the boots so far, and what the disk must have.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Boots that ended by themselves, emulated and PV.
    pub whole: [u32; 2],
    /// Boots whose power went, emulated and PV.
    pub cut: [u32; 2],
    /// The moments of the cuts.
    pub moments: BTreeMap<Moment, u32>,
    /// Files that were begun, and that were flushed.
    pub written: u64,
    /// Files that were flushed.
    pub flushed: u64,
    /// Files that a boot found again.
    pub found: u64,
    /// Flushed files that a later boot did not find.
    pub lost: u64,
    /// Mounts of the volume, and of it a second time in one boot.
    pub mounts: u64,
    /// Mounts of the volume in a boot that had mounted it.
    pub second_mounts: u64,
    /// Whatever else is not as it must be, a line each.
    pub wrong: Vec<String>,
    /// For each file its last flushed stamp.
    durable: [Option<u64>; FILES],
    /// The last stamp that was begun.
    begun: u64,
}

impl Tally {
    /// Takes a boot: `files` is how many it writes where it is not cut. `name` names it in what is wrong.
    pub(super) fn take(&mut self, name: &str, planned: Planned, ended: Ended, report: &Report, files: usize) {
        let entry = usize::from(planned.pv);
        let seen = Observed::of(report);
        let mut wrong = Vec::new();
        let expected = if planned.pv { Reason::PvSelected } else { Reason::NotSelected };
        if let Some(violation) = seen.violations.first() {
            wrong.push(format!("violation {violation}"));
        }
        if let Some([code, p1, ..]) = seen.bugcheck {
            wrong.push(format!("bugcheck {code:#x} {p1:#x}"));
        }
        if seen.decision.is_some_and(|decision| decision != expected) {
            wrong.push(format!("decision {:?}", seen.decision));
        }
        let most = if planned.pv { (0, 1) } else { (1, 0) };
        if seen.ide > most.0 || seen.pv > most.1 {
            wrong.push(format!("{} IDE and {} PV disks", seen.ide, seen.pv));
        }
        let mounts: Vec<_> = report.all(Line::Mount.name()).collect();
        self.mounts += mounts.len() as u64;
        self.second_mounts += mounts.len().saturating_sub(1) as u64;
        if let Some(mount) = mounts.iter().find(|mount| !mount.is("status", "ok")) {
            wrong.push(format!("mount {}", mount.text));
        }
        match ended {
            Ended::Cut => {
                self.cut[entry] += 1;
                *self.moments.entry(Moment::of(report, files)).or_default() += 1;
            }
            Ended::Whole(_) => {
                self.whole[entry] += 1;
                let flushed = report.all(Line::Flushed.name()).count();
                let came = (seen.decision, seen.ide, seen.pv, mounts.len(), seen.verdict.as_deref(), flushed);
                if came != (Some(expected), most.0, most.1, 1, Some("clean"), files) {
                    wrong.push(format!("decision, IDE disks, PV disks, mounts, end, files: {came:?}"));
                }
            }
        }
        wrong.extend(self.take_files(report));
        self.wrong.extend(wrong.into_iter().map(|what| format!("{name}: {what}")));
    }

    /// Holds the files that a boot found against those that earlier ones flushed, and takes what it flushed itself. Returns
    /// what is wrong.
    fn take_files(&mut self, report: &Report) -> Vec<String> {
        let mut wrong = Vec::new();
        let stamps = |line: Line| {
            let number =
                |line: &rig::report::Line| Some((line.number("file")? as usize, line.number("stamp")?));
            report.all(line.name()).filter_map(number).collect::<Vec<_>>()
        };
        for line in report.all(Line::Kept.name()).filter(|line| !line.is("whole", "1")) {
            wrong.push(format!("a file that is not whole: {}", line.text));
            self.lost += 1;
        }
        let kept: BTreeMap<_, _> = stamps(Line::Kept).into_iter().collect();
        self.found += kept.len() as u64;
        // All are read before the first is written.
        if report.first(Line::Written.name()).is_some() {
            for (file, durable) in self.durable.iter().enumerate() {
                let found = kept.get(&file).copied();
                if found < *durable || found > Some(self.begun) {
                    self.lost += 1;
                    wrong.push(format!(
                        "file {file} has {found:?}, and {durable:?} was flushed of {}",
                        self.begun
                    ));
                }
            }
        }
        let (written, flushed) = (stamps(Line::Written), stamps(Line::Flushed));
        self.written += written.len() as u64;
        self.flushed += flushed.len() as u64;
        self.begun = written.iter().map(|(_, stamp)| *stamp).chain([self.begun]).max().unwrap_or_default();
        for (file, stamp) in flushed {
            if let Some(durable) = self.durable.get_mut(file) {
                *durable = Some(stamp);
            }
        }
        wrong
    }

    /// Returns the number of boots.
    pub(super) fn boots(&self) -> u32 {
        self.whole.iter().chain(&self.cut).sum()
    }

    /// Adds the totals of another machine. What this one's disk must have stays as it is.
    pub(super) fn add(&mut self, other: &Self) {
        let Self { whole, cut, moments, written, flushed, found, lost, mounts, second_mounts, wrong, .. } =
            other;
        for entry in 0..2 {
            self.whole[entry] += whole[entry];
            self.cut[entry] += cut[entry];
        }
        for (moment, count) in moments {
            *self.moments.entry(*moment).or_default() += count;
        }
        self.written += written;
        self.flushed += flushed;
        self.found += found;
        self.lost += lost;
        self.mounts += mounts;
        self.second_mounts += second_mounts;
        self.wrong.extend_from_slice(wrong);
    }

    /// Holds the image of the disk against the files that were flushed, when no guest runs. `read` returns the content of
    /// a file.
    ///
    /// # Errors
    /// The image cannot be read.
    pub(super) fn take_image(
        &mut self,
        name: &str,
        image: &volume::Report,
        read: impl Fn(usize) -> Result<Option<Vec<u8>>>,
    ) -> Result<()> {
        if image.verdict != volume::Verdict::Intact {
            self.wrong.push(format!("{name}: the image is {image}"));
        }
        for file in 0..FILES {
            let found = read(file)?.and_then(|content| Some(u64::from_le_bytes(*content.first_chunk()?)));
            if found < self.durable[file] {
                self.lost += 1;
                let durable = self.durable[file];
                self.wrong.push(format!(
                    "{name}: file {file} of the image has {found:?}, and {durable:?} was flushed"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PV: Planned = Planned { pv: true, cut: None };
    const WHOLE: Ended = Ended::Whole(Duration::from_secs(9));
    const BOOT: &str = "@xg dbg xenguard: idefilter: mode=pv reason=0x1 the boot entry selects PV\n\
                        @xg disk n=0 bus=scsi driver=xenvbd\n@xg mount disk=0 generation=2 status=ok\n";
    const END: &str = "@xg end verdict=clean\n";

    /// Takes boots of two files each.
    fn taken(boots: &[(Ended, &str)]) -> Tally {
        let mut tally = Tally::default();
        for (ended, text) in boots {
            tally.take("boot", PV, *ended, &Report::parse(text.lines()), 2);
        }
        tally
    }

    fn files(from: u64, flushed: u64) -> String {
        let one = |n: u64| {
            let done =
                if n < from + flushed { format!("@xg flushed file={n} stamp={n}\n") } else { String::new() };
            format!("@xg written file={n} stamp={n}\n{done}")
        };
        (from..from + 2).map(one).collect()
    }

    #[test]
    fn boots_that_keep_what_was_flushed_are_right() {
        let first = format!("{BOOT}{}{END}", files(1, 2));
        let kept = "@xg kept file=1 stamp=1 whole=1\n@xg kept file=2 stamp=2 whole=1\n";
        // Cut while the fourth file is written; the next boot finds it, which it need not.
        let second = format!("{BOOT}{kept}{}", files(3, 1));
        let third = format!(
            "{BOOT}{kept}@xg kept file=3 stamp=3 whole=1\n@xg kept file=4 stamp=4 whole=1\n{}{END}",
            files(5, 2)
        );
        let tally = taken(&[(WHOLE, &first), (Ended::Cut, &second), (Ended::Cut, BOOT), (WHOLE, &third)]);
        assert_eq!(tally.wrong, [""; 0]);
        assert_eq!((tally.whole, tally.cut, tally.boots()), ([0, 2], [0, 2], 4));
        assert_eq!((tally.written, tally.flushed, tally.found, tally.lost), (6, 5, 6, 0));
        assert_eq!(tally.moments, BTreeMap::from([(Moment::Writing, 1), (Moment::Mounted, 1)]));
        let mut both = tally.clone();
        both.add(&taken(&[
            (Ended::Cut, &format!("{BOOT}@xg violation name=pool-leaked\n")),
            (WHOLE, &first),
        ]));
        assert_eq!((both.whole, both.cut, both.boots()), ([0, 3], [0, 3], 6));
        assert_eq!((both.written, both.flushed, both.found, both.mounts), (8, 7, 6, 6));
        assert_eq!((both.moments[&Moment::Mounted], both.wrong.len()), (2, 1));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let first = format!("{BOOT}{}{END}", files(1, 2));
        let kept = "@xg kept file=1 stamp=1 whole=1\n";
        for (second, what) in [
            (format!("{BOOT}{kept}{}{END}", files(3, 2)), "file 2 has None"),
            (format!("{BOOT}{kept}@xg kept file=2 stamp=0 whole=0\n{}{END}", files(3, 2)), "not whole"),
            (format!("{BOOT}@xg mount disk=0 generation=2 status=corrupt\n"), "status=corrupt"),
            (BOOT.replace("mode=pv reason=0x1", "mode=emulated reason=0x11"), "decision"),
            (BOOT.replace("bus=scsi", "bus=ide"), "IDE"),
            (format!("{BOOT}@xg violation name=pool-leaked\n"), "pool-leaked"),
            (format!("{BOOT}@xg bugcheck code=0x58454e p1=0x50 p2=0 p3=0 p4=0\n"), "bugcheck"),
        ] {
            let tally = taken(&[(WHOLE, &first), (Ended::Cut, &second)]);
            assert!(tally.wrong.iter().any(|line| line.contains(what)), "{what}: {:?}", tally.wrong);
        }
        assert!(!taken(&[(WHOLE, BOOT)]).wrong.is_empty(), "an end that did not come");
        assert_eq!(taken(&[(Ended::Cut, &format!("{BOOT}@xg mount disk=0 status=ok\n"))]).second_mounts, 1);
    }

    #[test]
    fn the_ends_are_read_from_dom0() {
        let batch = "@boot 0 cut 7100\n@boot 1 whole 9350\n@boot 2 ended 8000\n";
        let whole = |ms| Ended::Whole(Duration::from_millis(ms));
        assert_eq!(ends(batch).expect("right"), [Ended::Cut, whole(9350), whole(8000)]);
        for wrong in ["@boot 0 late 90000\n", "@boot 0 \n", "@boot 0 /dev/loop0 stays in use\n"] {
            assert!(ends(wrong).is_err(), "{wrong}");
        }
    }
}
