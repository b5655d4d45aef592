//! The life of a guest that is in use while disks come and go, drawn by a seed.

use explore::Random;
use protocol::{Line, Ready, Version, hours};
use rig::{Backend, Mark};

use super::super::TELL;
use crate::{
    catalogue::cdrom::{GIVE_MEDIUM, TAKE_MEDIUM},
    scenario::{When, xvd},
};

/// Versions on which a disk leaves in order: a miniport of NT 5.2 cannot say that one may.
const VERSIONS: [Version; 3] = [Version::Nt61, Version::Nt63, Version::Nt100];
/// Places among a guest's disks, 1 for xvdb, of the disks over each image.
const PLACES: [[u32; 4]; 2] = [[1, 4, 9, 16], [2, 5, 15, 25]];
/// The first place of the extended numbers, which only blkback's disks have here.
const EXTENDED: u32 = 16;
/// The job's disks before those that come: the system's, and the CD-ROM drive.
pub(super) const AT_START: usize = 2;

/// A disk that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coming {
    /// Number of its image, 0 or 1.
    pub image: usize,
    /// Place among the guest's disks.
    place: u32,
    /// The program that serves it.
    pub backend: Backend,
}

impl Coming {
    /// Returns the name of the virtual device.
    pub(super) fn vdev(self) -> String {
        format!("xvd{}", char::from(b'a' + self.place as u8))
    }
}

/// A request of the guest's to dom0, in a cycle, or for the rest of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To tell what Xen and xenstore have.
    Look(u32),
    /// To shut the guest down.
    Shutdown,
    Attach(u32),
    Detach(u32),
    Force(u32),
    Eject(u32),
    Insert(u32),
}

/// A guest's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub seed: u64,
    /// Seconds after which the guest begins no further cycle.
    pub seconds: u32,
    pub version: Version,
    pub vcpus: u32,
    /// The disk of each cycle, the first one's first. The guest may end before it comes to the last.
    pub comings: Vec<Coming>,
}

/// Returns the life that a seed draws.
pub(super) fn life(seed: u64, seconds: u32) -> Life {
    let mut random = Random::new(seed);
    let (version, vcpus) = (random.one_of(&VERSIONS), 1 + random.below(2) as u32);
    let coming = |cycle: u32| {
        let image = cycle as usize % PLACES.len();
        let (place, backend) =
            (random.one_of(&PLACES[image]), random.one_of(&[Backend::Blkback, Backend::Qdisk]));
        Coming { image, place, backend: if place < EXTENDED { backend } else { Backend::Blkback } }
    };
    let comings = (1..=hours::most_cycles(seconds)).map(coming).collect();
    Life { seed, seconds, version, vcpus, comings }
}

impl Life {
    /// Returns the different ones of the disks that come.
    pub(super) fn disks(&self) -> Vec<Coming> {
        let mut disks = Vec::new();
        for coming in &self.comings {
            if !disks.contains(coming) {
                disks.push(*coming);
            }
        }
        disks
    }

    /// Returns the disk of a cycle.
    pub(super) fn coming(&self, cycle: u32) -> Option<Coming> {
        self.comings.get(cycle.checked_sub(1)? as usize).copied()
    }

    /// Returns what dom0 does, in the order of the job's marks. Of two that come at once the first one is done first: a look
    /// is over before the next disk comes.
    pub(super) fn steps(&self) -> Vec<Step> {
        let cycles = || 1..=self.comings.len() as u32;
        let each = |step: fn(u32) -> Step| cycles().map(step);
        let mut steps = vec![Step::Look(1), Step::Look(2), Step::Shutdown];
        steps.extend(each(Step::Attach).chain(each(Step::Detach)).chain(each(Step::Force)));
        let exchanges = || cycles().filter(|cycle| hours::exchanges(*cycle));
        steps.extend(exchanges().map(Step::Eject).chain(exchanges().map(Step::Insert)));
        steps
    }

    /// Returns the job's marks.
    pub(super) fn marks(&self) -> Vec<Mark> {
        let disks = self.disks();
        self.steps().into_iter().map(|step| self.mark(step, &disks)).collect()
    }

    fn mark(&self, step: Step, disks: &[Coming]) -> Mark {
        let asked = |what: Ready, cycle: u32| format!("{} for={what} cycle={cycle} ", Line::Ready);
        let detach = |cycle: u32, how: &str| {
            let coming = self.coming(cycle);
            let (vdev, number) =
                coming.map_or((String::new(), 0), |coming| (coming.vdev(), xvd(coming.place)));
            format!("bash detach.sh {vdev} {number}{how}")
        };
        let (when, run) = match step {
            Step::Look(number) => (asked(Ready::Look, number), look()),
            Step::Shutdown => (
                When::Ready(Ready::Request).line(),
                "bash features.sh 1 1 1 && xl shutdown $DOMID".to_owned(),
            ),
            Step::Attach(cycle) => {
                let disk =
                    disks.iter().position(|disk| Some(*disk) == self.coming(cycle)).unwrap_or_default();
                (asked(Ready::Attach, cycle), format!("bash attach-{}.sh", AT_START + disk))
            }
            Step::Detach(cycle) => (asked(Ready::Detach, cycle), detach(cycle, "")),
            Step::Force(cycle) => (asked(Ready::Force, cycle), detach(cycle, " --force")),
            Step::Eject(cycle) => (asked(Ready::Eject, cycle), TAKE_MEDIUM.to_owned()),
            Step::Insert(cycle) => (asked(Ready::Insert, cycle), give_medium()),
        };
        Mark { when, run }
    }
}

/// Returns dom0's command that puts the medium in. The toolstack gives up where the device model does not answer within ten
/// seconds, as it may not under load, and is asked again.
fn give_medium() -> String {
    format!("for n in $(seq 9); do {GIVE_MEDIUM} && exit 0; echo again; done; exit 1")
}

/// Returns dom0's command that tells what Xen has left, and how many nodes xenstore has that are not the guest's.
fn look() -> String {
    format!("{TELL} && echo \"@nodes $(xenstore-ls -f / | grep -cv \"^/local/domain/$DOMID/\")\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_life_again_and_every_kind_of_disk_comes() {
        let drawn = life(3, 1200);
        assert_eq!(drawn, life(3, 1200));
        assert_ne!(drawn.comings, life(4, 1200).comings);
        assert_eq!(drawn.comings.len() as u32, hours::most_cycles(1200));
        let versions: Vec<_> = (0..40).map(|seed| life(seed, 0).version).collect();
        assert!(VERSIONS.iter().all(|version| versions.contains(version)));
        let disks = drawn.disks();
        assert!(disks.len() > 8 && disks.len() <= 14, "{disks:?}");
        for backend in [Backend::Blkback, Backend::Qdisk] {
            assert!(
                (0..2).all(|image| disks.iter().any(|disk| (disk.image, disk.backend) == (image, backend)))
            );
        }
    }

    /// Two disks are there at once.
    #[test]
    fn a_disk_is_over_another_image_than_the_one_before() {
        let comings = life(5, 600).comings;
        for pair in comings.windows(2) {
            assert!(pair[0].image != pair[1].image && pair[0].vdev() != pair[1].vdev(), "{pair:?}");
        }
    }

    #[test]
    fn a_request_has_one_mark() {
        let life = life(7, 300);
        let (steps, marks) = (life.steps(), life.marks());
        let line = |what: &str, cycle: u32| format!("@xg ready for={what} cycle={cycle} us=88123");
        let step = |line: &str| -> Vec<Step> {
            let fired = marks.iter().zip(&steps).filter(|(mark, _)| line.contains(&mark.when));
            fired.map(|(_, step)| *step).collect()
        };
        assert_eq!(step(&line("attach", 1)), [Step::Attach(1)]);
        assert_eq!(step(&line("attach", 12)), [Step::Attach(12)]);
        assert_eq!(step(&line("force", 3)), [Step::Force(3)]);
        assert_eq!(step(&line("look", 2)), [Step::Look(2)]);
        assert_eq!(step("@xg ready for=request"), [Step::Shutdown]);
        assert_eq!(step(&line("eject", 7)), [Step::Eject(7)]);
        assert_eq!(step(&line("eject", 8)), []);
        let run = |step: Step| {
            let at = steps.iter().position(|other| *other == step).expect("a step");
            marks[at].run.clone()
        };
        let disk = life.coming(4).expect("a disk");
        let at = AT_START + life.disks().iter().position(|other| *other == disk).expect("listed");
        assert_eq!(run(Step::Attach(4)), format!("bash attach-{at}.sh"));
        assert_eq!(
            run(Step::Force(4)),
            format!("bash detach.sh {} {} --force", disk.vdev(), xvd(disk.place))
        );
    }
}
