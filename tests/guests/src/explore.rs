//! Machines drawn by a seed, booted in the rig.
//!
//! Each machine is a [`Scenario`] whose disks, drive, processors, version of NT and nodes in xenstore a seed chooses
//! among what toolstacks configure. What the boot must show is computed beside it (`Machine::expect`), from the
//! configuration alone. `tests/explore` does the same by the hundred thousand against the guard's code on the host;
//! here the shipped drivers run.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use explore::Random;
use guard::Reason;
use protocol::{Exercise, Ready, Version, Word};

use crate::{
    boot::{self, rig_files},
    checks::load::IN_USE,
    layout::Layout,
    matrix,
    scenario::{BASE, Backend, Entry, Expect, PV, Raw, Scenario, When, emulated},
    step::Running,
    verdict,
};

/// The seed of the machines that every test boots, and their number.
pub const TESTED: (u64, u64) = (2, 2);

/// Something that stands in xenstore before the guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Oddity {
    /// Nothing out of the ordinary.
    None,
    /// A folder of a vbd without a backend, as a failed attach leaves it.
    Stale,
    /// Nodes that nobody knows, beside those of the first disk.
    Strange,
    /// Other devices of the guest's.
    Others,
    /// The host asks for an emulated boot.
    Veto,
    /// The host asks for PV, which leaves the choice to the entry.
    NoVeto,
    /// The first disk's vbd has blocks of 4096 bytes.
    Blocks,
    /// A second vbd over the first disk's storage.
    Twice,
}

/// An event once the system is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Nothing,
    /// The guest is saved and restored under load.
    Restored,
    /// A disk is attached, used, and detached.
    Attached,
}

/// A machine, as a toolstack's admin would configure it.
#[derive(Clone, Debug)]
struct Machine {
    pv_entry: bool,
    version: Version,
    vcpus: u32,
    disks: Vec<Backend>,
    first_place: usize,
    cdrom: bool,
    raw: Option<Raw>,
    /// Lines of its xl configuration.
    config: Vec<&'static str>,
    oddity: Oddity,
    event: Event,
}

/// The virtual device of hda or hdb.
const HD: [u32; 2] = [768, 832];

impl Machine {
    fn random(random: &mut Random) -> Self {
        let cdrom = random.once_in(4);
        let first_place = usize::from(random.once_in(6));
        // hda to hdd, and the drive is hdc.
        let most = if cdrom { 2 } else { 3 } - first_place;
        let disks = 1 + random.below(most);
        let backend = |random: &mut Random| match random.below(9) {
            0..4 => Backend::Blkback,
            4..8 => Backend::Qdisk,
            _ => Backend::None,
        };
        let mut disks: Vec<_> = (0..disks).map(|_| backend(random)).collect();
        // Beside the boot disk: those without a vbd come last.
        disks[1..].sort_by_key(|backend| *backend == Backend::None);
        let mut machine = Self {
            pv_entry: !random.once_in(5),
            version: random.one_of(Version::ALL),
            vcpus: 1 + random.below(3) as u32,
            raw: None,
            config: Vec::new(),
            oddity: random.one_of(&[
                Oddity::None,
                Oddity::None,
                Oddity::None,
                Oddity::Stale,
                Oddity::Strange,
                Oddity::Others,
                Oddity::Veto,
                Oddity::NoVeto,
                Oddity::Blocks,
                Oddity::Twice,
            ]),
            event: Event::Nothing,
            disks,
            first_place,
            cdrom,
        };
        for line in ["viridian = 1", "usb = 1\nusbdevice = [ \"tablet\" ]", "vga = \"stdvga\"", "hpet = 0"] {
            if random.once_in(4) {
                machine.config.push(line);
            }
        }
        if matches!(machine.oddity, Oddity::Blocks | Oddity::Twice) && machine.disks[0] == Backend::None {
            machine.oddity = Oddity::None;
        }
        if machine.decision() == Reason::PvSelected && machine.disks == [Backend::Blkback] && first_place == 0
        {
            machine.raw = random.once_in(4).then(|| random.one_of(&[Raw::ReadOnly, Raw::Blocks4096]));
            if machine.raw.is_none() && !cdrom {
                machine.event = random.one_of(&[Event::Nothing, Event::Restored, Event::Attached]);
            }
        }
        machine
    }

    /// Returns true if a disk has a vbd.
    fn has_vbd(&self) -> bool {
        self.disks.iter().any(|backend| *backend != Backend::None)
    }

    /// Returns the decision that the configuration asks for.
    fn decision(&self) -> Reason {
        let first_is_pv = self.disks[0] != Backend::None;
        let all_are_pv = self.disks.iter().all(|backend| *backend != Backend::None);
        match self.oddity {
            _ if !self.pv_entry => Reason::NotSelected,
            Oddity::Veto => Reason::HostVetoed,
            Oddity::Blocks => Reason::BlockSizeDiffers,
            Oddity::Twice => Reason::BackingShared,
            _ if !self.has_vbd() => Reason::NoVbd,
            // Without hda the BIOS boots from the first disk that there is.
            _ if !first_is_pv || (self.first_place > 0 && !all_are_pv) => Reason::BootDiskWithoutVbd,
            _ => Reason::PvSelected,
        }
    }

    /// Returns what the boot must show.
    fn expect(&self) -> Expect {
        let decision = self.decision();
        let drives = usize::from(self.cdrom);
        if decision != Reason::PvSelected {
            return Expect { ide: self.disks.len(), cdroms: drives, ..emulated(decision) };
        }
        let vbds = self.disks.iter().filter(|backend| **backend != Backend::None).count();
        let more = usize::from(self.raw.is_some()) + usize::from(self.event == Event::Attached);
        Expect { pv: vbds + more, pv_cdroms: drives, ..PV }
    }

    /// Returns the command of dom0's before the guest runs.
    fn created(&self) -> String {
        let first = HD[self.first_place];
        let front = "/local/domain/$DOMID/device";
        let back = match self.disks[0] {
            Backend::Qdisk => "qdisk",
            _ => "vbd",
        };
        match self.oddity {
            Oddity::None => String::new(),
            Oddity::Stale => {
                format!("xenstore-write {front}/vbd/51824/state 1 {front}/vbd/51824/virtual-device 51824")
            }
            Oddity::Strange => {
                format!(
                    "xenstore-write {front}/vbd/{first}/future '' {front}/vbd/{first}/protocol x86_64-abi"
                )
            }
            Oddity::Others => format!("xenstore-write {front}/vif/7/state 1 {front}/vkbd/0/state 1"),
            Oddity::Veto => "xenstore-write /local/domain/$DOMID/vm-data/xenguard/boot emulated".to_owned(),
            Oddity::NoVeto => "xenstore-write /local/domain/$DOMID/vm-data/xenguard/boot pv".to_owned(),
            Oddity::Blocks => {
                format!("xenstore-write /local/domain/0/backend/{back}/$DOMID/{first}/sector-size 4096")
            }
            Oddity::Twice => "xl block-attach $DOMID \
                 format=raw,vdev=xvde,access=rw,backendtype=qdisk,target=/dev/guest-disk0"
                .to_owned(),
        }
    }

    /// Returns a line that says what is booted.
    fn title(&self) -> String {
        let mut title = format!(
            "{} entry, NT {}, {} processors, {:?} from place {}",
            if self.pv_entry { "PV" } else { "emulated" },
            self.version,
            self.vcpus,
            self.disks,
            self.first_place
        );
        if self.cdrom {
            title += ", a CD-ROM";
        }
        let _ = self.raw.map(|raw| write!(title, ", a {raw:?} disk"));
        for line in &self.config {
            let _ = write!(title, ", {}", line.split(' ').next().unwrap_or(line));
        }
        let _ = write!(title, ", {:?}, {:?}", self.oddity, self.event);
        title
    }

    /// Makes a scenario of it. The text of a scenario lives as long as the program.
    fn scenario(&self, seed: u64) -> Scenario {
        fn keep<T>(list: Vec<T>) -> &'static [T] {
            Box::leak(list.into_boxed_slice())
        }
        let text = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
        let expect = self.expect();
        let base = Scenario {
            name: text(format!("explore-{seed}")),
            title: text(self.title()),
            entry: if self.pv_entry { Entry::Pv } else { Entry::Emulated },
            words: keep(vec![Word::Nt(self.version)]),
            config: keep(self.config.clone()),
            disks: keep(self.disks.clone()),
            first_place: self.first_place,
            raw: keep(self.raw.into_iter().collect()),
            // xvde, which nobody connects in an emulated boot.
            more_vbds: if self.oddity == Oddity::Twice { &[(51776, 1)] } else { &[] },
            vcpus: self.vcpus,
            created: text(self.created()),
            cdrom: self.cdrom,
            expect,
            ..BASE
        };
        match self.event {
            Event::Nothing => base,
            Event::Restored => Scenario {
                memory_mib: 64,
                exercise: Some(Exercise::Suspend),
                dom0: &[(When::Ready(Ready::Suspend), "bash save.sh")],
                checks: &[IN_USE],
                ..base
            },
            Event::Attached => Scenario {
                exercise: Some(Exercise::Hotplug),
                late_disks: &[Backend::Qdisk],
                dom0: &[
                    (When::Ready(Ready::Attach), "bash attach-1.sh"),
                    (When::Ready(Ready::Force), "xl block-detach --force $DOMID xvdb"),
                ],
                ..base
            },
        }
    }
}

/// Returns the scenario that a seed draws.
pub fn scenario(seed: u64) -> Scenario {
    Machine::random(&mut Random::new(seed)).scenario(seed)
}

/// The page that a run writes.
const PAGE: &str = "docs/results/explored.md";

/// Machines that were booted, each with what differed from what it must show.
type Lines = BTreeMap<u64, (Scenario, Vec<String>)>;

/// Boots `count` machines from `seed` on, and writes what came of them to `docs/results/explored.md`.
///
/// # Errors
/// The rig failed, or a machine did not show what it must; the page tells which.
pub fn run(seed: u64, count: u64) -> Result<()> {
    let layout = Layout::here();
    let lines = boot_all(&layout, seed..seed.saturating_add(count))?;
    write(&layout, seed, &lines)
}

/// Boots again the machines that were not as expected in the run that wrote the page, and brings it up to date.
///
/// # Errors
/// Failures of [`run`]; there is no page.
pub fn again() -> Result<()> {
    let layout = Layout::here();
    let text = fs::read_to_string(layout.root().join(PAGE))
        .with_context(|| format!("cannot read {PAGE}; run cargo xtask explore --guests first"))?;
    let (seed, count, wrong) = read_page(&text).with_context(|| format!("{PAGE} is not understood"))?;
    let booted = boot_all(&layout, wrong)?;
    let mut lines: Lines = (seed..seed + count).map(|at| (at, (scenario(at), Vec::new()))).collect();
    lines.extend(booted);
    write(&layout, seed, &lines)
}

/// Boots the machines of these seeds, and says of each what it showed.
fn boot_all(layout: &Layout, seeds: impl IntoIterator<Item = u64>) -> Result<Lines> {
    let rig = rig_files::ensure(layout, rig::Release::default())?;
    let lines = Mutex::new(Lines::new());
    rig_files::each(rig_files::AT_ONCE, seeds, |at| {
        let scenario = scenario(at);
        let running = Running::begin(scenario.name);
        let differences = match boot::boot(layout, &rig, &scenario) {
            Ok(boot) => verdict::differences(&scenario, &boot),
            Err(error) => vec![format!("not run: {error:#}")],
        };
        println!("{}", running.end("done"));
        let verdict = if differences.is_empty() { "as expected" } else { "DIFFERS" };
        println!("{:<14} {verdict} ({})", scenario.name, scenario.title);
        for difference in &differences {
            println!("    {difference}");
        }
        lines.lock().unwrap_or_else(PoisonError::into_inner).insert(at, (scenario, differences));
    });
    Ok(lines.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Writes the page.
///
/// # Errors
/// It cannot be written, or a machine did not show what it must.
fn write(layout: &Layout, seed: u64, lines: &Lines) -> Result<()> {
    let path = layout.root().join(PAGE);
    fs::write(&path, page(seed, lines)).with_context(|| format!("cannot write {}", path.display()))?;
    let wrong = lines.values().filter(|(_, differences)| !differences.is_empty()).count();
    if wrong > 0 {
        bail!("{wrong} of {} machines differ from what they must show", lines.len());
    }
    Ok(())
}

/// Reads the first seed of a page, the number of its machines, and the seeds of those that were not as expected.
fn read_page(text: &str) -> Option<(u64, u64, Vec<u64>)> {
    let summary = text.lines().find_map(|line| line.strip_prefix("**"))?;
    let (count, rest) = summary.split_once(" machines from seed ")?;
    let (seed, _) = rest.split_once(' ')?;
    let name = |line: &str| line.strip_prefix("- explore-")?.split_once(' ')?.0.parse().ok();
    Some((seed.parse().ok()?, count.parse().ok()?, text.lines().filter_map(name).collect()))
}

fn page(seed: u64, lines: &Lines) -> String {
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for (scenario, _) in lines.values() {
        *ends.entry(matrix::expected(&scenario.expect).0).or_default() += 1;
    }
    let ends: String = ends.iter().map(|(end, count)| format!("| {end} | {count} |\n")).collect();
    let wrong: Vec<_> = lines.values().filter(|(_, differences)| !differences.is_empty()).collect();
    let told: String = wrong
        .iter()
        .map(|(scenario, differences)| {
            format!("- {} ({}): {}\n", scenario.name, scenario.title, differences.join("; "))
        })
        .collect();
    format!(
        "# Machines drawn by a seed\n\n\
         Written by `cargo xtask explore --guests`; not edited by hand. Each is a guest whose disks, drive, processors, version\n\
         of NT and nodes in xenstore a seed chose, with what its boot must show computed from the configuration\n\
         ([testing](../testing.md#configurations-from-a-seed)).\n\n\
         **{} machines from seed {seed} on, {} as expected.**\n\n\
         | what the boot must show | machines |\n|---|---|\n{ends}{}{told}",
        lines.len(),
        lines.len() - wrong.len(),
        if wrong.is_empty() { "" } else { "\nNot as expected:\n\n" },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_read_back() {
        let said = |at| if at == 8 { vec!["PV disks: 0, expected 1".to_owned()] } else { Vec::new() };
        let lines: Lines = (7..10).map(|at| (at, (scenario(at), said(at)))).collect();
        assert_eq!(read_page(&page(7, &lines)), Some((7, 3, vec![8])));
    }

    #[test]
    fn every_kind_of_machine_is_drawn() {
        let machines: Vec<_> = (0..400).map(|seed| Machine::random(&mut Random::new(seed))).collect();
        for decision in [
            Reason::PvSelected,
            Reason::NotSelected,
            Reason::HostVetoed,
            Reason::BlockSizeDiffers,
            Reason::BackingShared,
            Reason::NoVbd,
            Reason::BootDiskWithoutVbd,
        ] {
            assert!(machines.iter().any(|machine| machine.decision() == decision), "{decision:?}");
        }
        for event in [Event::Restored, Event::Attached] {
            assert!(machines.iter().any(|machine| machine.event == event), "{event:?}");
        }
        assert!(machines.iter().any(|machine| machine.raw.is_some()));
    }
}
