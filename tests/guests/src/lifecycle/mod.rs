//! One machine from its installation to its removal: one system volume, one registry, one data disk, many
//! boots.
//!
//! The host is the boot loader: it takes boot.ini, the hive and the driver files from the system volume and
//! gives them to the NT executive, which gets no INF file: what `bootcfg install` wrote is all there is. What
//! a boot writes into the registry goes back into the hive. The executive does not mount the system volume;
//! the disk that must not be mounted twice is the data disk.

pub(crate) mod registration;
pub(crate) mod volume;

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use guard::Reason;
use protocol::{Line, Version, Word};
use rig::{Disk, End, RigFiles};

use crate::{
    boot::{self, Folder, Module, registry, rig_files},
    built::{INFS, SHIPPED, read},
    checksum,
    layout::Layout,
    verdict::Observed,
};
use ::volume::Verdict;
use volume::{Loader, SystemVolume};

/// An event in the machine's life.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// `bootcfg install` of the older version.
    Install,
    /// `bootcfg install` of what was built.
    Upgrade,
    /// `bootcfg uninstall`.
    Uninstall,
    /// A driver's file goes.
    Delete(&'static str),
    /// A bit of a driver's file changes; a second time brings it back.
    Damage(&'static str),
    /// `bootcfg try`.
    Try,
    /// A boot at whose menu nobody chooses.
    Unattended(Expect),
    /// A boot from the emulated entry.
    Emulated(Expect),
    /// A boot from the PV entry.
    Pv(Expect),
}

/// The result that a boot must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The disk through IDE; the decision for it, none where the suite is not there.
    Ide(Option<Reason>),
    /// The disk through xenvbd.
    Vbd,
    /// The boot stops with this code, before a disk is mounted.
    Stop(u64),
}

/// A life: a name, and what happens in it.
pub type Life = (&'static str, &'static [Step]);

const NOT_SELECTED: Step = Step::Emulated(Expect::Ide(Some(Reason::NotSelected)));
const PV: Step = Step::Pv(Expect::Vbd);
const BARE: Step = Step::Emulated(Expect::Ide(None));
/// The life of a machine of NT 6.1, which is started from boot configuration data; the others are NT 5.2's.
const BCD_LIFE: &str = "life-bcd";
/// `INACCESSIBLE_BOOT_DEVICE`.
const NO_BOOT_DEVICE: u64 = 0x7B;

/// The life that `cargo xtask test` runs: the last boot before the removal is a PV boot.
pub const SHORT: Life = ("life", &[Step::Install, PV, Step::Upgrade, PV, Step::Uninstall, BARE]);

/// The longer ones.
const LIVES: &[Life] = &[
    (
        "life-whole",
        &[Step::Install, NOT_SELECTED, PV, Step::Upgrade, PV, NOT_SELECTED, Step::Uninstall, BARE],
    ),
    SHORT,
    // The filter's file is gone: both entries boot emulated, and a new installation mends it.
    (
        "life-without-idefilter",
        &[
            Step::Install,
            Step::Delete("idefilter.sys"),
            BARE,
            Step::Pv(Expect::Ide(None)),
            Step::Upgrade,
            PV,
            Step::Uninstall,
            BARE,
        ],
    ),
    // It was damaged and put back: nobody names it any more, so that no PV disk appears.
    (
        "life-idefilter-put-back",
        &[
            Step::Install,
            Step::Damage("idefilter.sys"),
            Step::Pv(Expect::Ide(None)),
            Step::Damage("idefilter.sys"),
            Step::Pv(Expect::Ide(Some(Reason::PvSelected))),
            Step::Upgrade,
            PV,
        ],
    ),
    // The driver that would mend it is gone too: nothing boots, and the removal from outside mends it.
    (
        "life-without-both",
        &[
            Step::Install,
            Step::Delete("idefilter.sys"),
            Step::Delete("idefallback.sys"),
            Step::Emulated(Expect::Stop(NO_BOOT_DEVICE)),
            Step::Pv(Expect::Stop(NO_BOOT_DEVICE)),
            Step::Uninstall,
            BARE,
        ],
    ),
    // On boot configuration data: PV is tried for one boot.
    (
        BCD_LIFE,
        &[
            Step::Install,
            Step::Unattended(Expect::Ide(Some(Reason::NotSelected))),
            Step::Try,
            Step::Unattended(Expect::Vbd),
            Step::Unattended(Expect::Ide(Some(Reason::NotSelected))),
            PV,
            Step::Uninstall,
            Step::Unattended(Expect::Ide(None)),
        ],
    ),
    (
        "life-without-xenpci",
        &[
            Step::Install,
            Step::Delete("xenpci.sys"),
            NOT_SELECTED,
            Step::Pv(Expect::Ide(Some(Reason::XenpciDisabled))),
            Step::Upgrade,
            PV,
        ],
    ),
    (
        "life-without-xenvbd",
        &[
            Step::Install,
            Step::Delete("xenvbd.sys"),
            NOT_SELECTED,
            Step::Pv(Expect::Ide(Some(Reason::XenvbdDisabled))),
            Step::Upgrade,
            PV,
        ],
    ),
];

/// Runs every life and prints a line for each step.
///
/// # Errors
/// The rig failed, or a boot showed something else than it must.
pub fn run(names: &[String]) -> Result<()> {
    let layout = Layout::here();
    let rig = rig_files::ensure(&layout, rig::Release::default())?;
    let chosen: Vec<_> =
        LIVES.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|own| own == name)).collect();
    ensure!(
        !chosen.is_empty(),
        "lives: {}",
        LIVES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    );
    let mut failed = Vec::new();
    for life in chosen {
        println!("{}", life.0);
        if let Err(error) = live(&layout, &rig, life, &|line| println!("  {line}")) {
            println!("  FAILED: {error:#}");
            failed.push(life.0);
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

/// Runs a life.
///
/// # Errors
/// As [`run`].
pub fn live(layout: &Layout, rig: &RigFiles, (name, steps): &Life, say: &dyn Fn(&str)) -> Result<()> {
    let folder = Folder::new(layout, name)?;
    let disk = folder.path("disk.img");
    ::volume::image::make_image(&disk, ::volume::image::SIZE, boot::SIGNATURE, "DATA0")?;
    let loader = if *name == BCD_LIFE { Loader::Bcd } else { Loader::BootIni };
    let system = SystemVolume::new(&folder.path("."), loader, boot::BOOT_INI)?;
    for (n, step) in (1..).zip(*steps) {
        let at = || format!("step {n} of {name}, {step:?}");
        say(&format!("{n}. {step:?}"));
        match step {
            Step::Install | Step::Upgrade => {
                let signed = folder.name() == BCD_LIFE;
                let package = package(layout, &folder, matches!(step, Step::Install), signed)?;
                system.bootcfg(&["install", "--package", &package]).with_context(at)?;
            }
            Step::Uninstall => {
                system.bootcfg(&["uninstall"]).with_context(at)?;
                system.check_removed().with_context(at)?;
            }
            Step::Delete(file) => system.delete_driver(file).with_context(at)?,
            Step::Damage(file) => system.damage_driver(file).with_context(at)?,
            Step::Try => system.bootcfg(&["try"]).with_context(at)?,
            Step::Unattended(expect) => {
                boot_entry(layout, rig, &folder, &system, &disk, (n, None, *expect)).with_context(at)?
            }
            Step::Emulated(expect) => {
                boot_entry(layout, rig, &folder, &system, &disk, (n, Some(false), *expect))
                    .with_context(at)?
            }
            Step::Pv(expect) => {
                boot_entry(layout, rig, &folder, &system, &disk, (n, Some(true), *expect)).with_context(at)?
            }
        }
    }
    Ok(())
}

/// Returns a folder with a package: what was built, or, as the older version, the same code in other bytes. Its drivers
/// have a signature in name only where `signed`.
pub(crate) fn package(layout: &Layout, folder: &Folder, older: bool, signed: bool) -> Result<String> {
    let package = folder.path(if older { "older" } else { "newer" });
    fs::create_dir_all(&package)?;
    for name in INFS {
        let file = format!("{name}.inf");
        fs::write(package.join(&file), read(&layout.dist().join(&file))?)?;
    }
    for name in SHIPPED {
        let file = format!("{name}.sys");
        let mut driver = read(&layout.dist().join(&file))?;
        let optional = u32::from_le_bytes(driver[0x3c..0x40].try_into()?) as usize + 24;
        if older {
            driver.extend(b"OLDER...");
        }
        if signed {
            // bootcfg installs no driver without a signature on NT 6. The executive does not look at it, so that a
            // table with nothing in it (WIN_CERTIFICATE) stands for that of a test certificate.
            driver.resize(driver.len().next_multiple_of(8), 0);
            let (at, certificate) = (driver.len() as u32, [16, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            let entry = optional + 112 + 8 * 4;
            driver[entry..entry + 4].copy_from_slice(&at.to_le_bytes());
            driver[entry + 4..entry + 8].copy_from_slice(&(certificate.len() as u32).to_le_bytes());
            driver.extend(certificate);
        }
        if older || signed {
            let field = optional + 64;
            let sum = checksum::compute(&driver, field);
            driver[field..field + 4].copy_from_slice(&sum.to_le_bytes());
        }
        fs::write(package.join(file), driver)?;
    }
    Ok(package.to_string_lossy().into_owned())
}

/// Boots a system: the host reads the files for the loader, and chooses the entry by what it selects, or
/// leaves that to the loader.
fn boot_entry(
    layout: &Layout,
    rig: &RigFiles,
    folder: &Folder,
    system: &SystemVolume,
    disk: &Path,
    (step, pv, expect): (u32, Option<bool>, Expect),
) -> Result<()> {
    let entry = match pv {
        Some(pv) => Word::Entry(system.entry(pv)? as u32),
        None => Word::Unattended,
    };
    let loaded = system.loaded()?;
    let mut module = Module::new(layout)?;
    for (name, content) in &loaded {
        module = module.add(name, content)?;
    }
    let mut job =
        module.job(format!("{}-{step}", folder.name()), folder.path(&format!("archive-{step}.tar")))?;
    let version = if folder.name() == BCD_LIFE { Version::Nt61 } else { Version::Nt52 };
    boot::add_words(&mut job, &[entry, Word::Hive, Word::Nt(version)]);
    job.timeout = boot::GUEST_LIMIT;
    job.disks.push(Disk::new(disk, "hda"));
    let before = ::volume::image::check_image(disk)?;
    let outcome = rig::run(rig, &job)?;
    fs::write(folder.path(&format!("console-{step}.txt")), outcome.console.join("\n"))?;
    let report = outcome.report();
    system.write_registry(&registry::written(&report))?;
    if report.first(Line::Bcd.name()).is_some_and(|line| line.is("bootsequence", "used")) {
        system.use_boot_sequence()?;
    }

    let seen = Observed::of(&report);
    let image = ::volume::image::check_image(disk)?;
    let found =
        (seen.ide, seen.pv, seen.mounts.len(), seen.files.len(), seen.bugcheck.map(|[code, ..]| code));
    let expected = match expect {
        Expect::Ide(_) => (1, 0, 1, 1, None),
        Expect::Vbd => (0, 1, 1, 1, None),
        Expect::Stop(code) => (0, 0, 0, 0, Some(code)),
    };
    ensure!(
        found == expected,
        "IDE disks, PV disks, mounts, files, bugcheck: {found:x?}, expected {expected:x?}"
    );
    let decision = match expect {
        Expect::Ide(decision) => decision,
        Expect::Vbd => Some(Reason::PvSelected),
        Expect::Stop(_) => None,
    };
    ensure!(seen.decision == decision, "decision {:?}, expected {decision:?}", seen.decision);
    let mounted = u64::from(!matches!(expect, Expect::Stop(_)));
    ensure!(image.verdict == Verdict::Intact, "the image is {image}");
    ensure!(
        image.generation == before.generation + mounted,
        "mounted {} times before and {} after",
        before.generation,
        image.generation
    );
    ensure!(seen.violations.is_empty(), "violations: {:?}", seen.violations);
    ensure!(outcome.end == End::PoweredOff, "the guest ended by {:?}", outcome.end);
    Ok(())
}
