//! The Windows that a boot configuration is of: its drivers, and what stands against a change of its disks.
//!
//! Offline it is read from the mounted volume: `hiberfil.sys`, the SYSTEM hive, the volume's boot sector. In
//! the running Windows it is read from the registry. What cannot be known is said to be unknown.

pub(crate) mod boot_sector;
mod hibernation;
mod registry;
#[cfg(windows)]
mod registry_windows;

use anyhow::{Context, Result};
use guard::{Reason, options::BootOptions};
use std::path::{Path, PathBuf};

use crate::{menu::Finding, output::Tone, session::Session, told};
pub use hibernation::Hibernation;
use registry::Registry;

/// The drivers that a PV boot needs.
const DRIVERS: [&str; 3] = ["idefilter", "xenpci", "xenvbd"];
/// `SERVICE_BOOT_START`
const BOOT_START: u32 = 0;
const CONTROL: &str = "Control";
const POWER: &str = "Control\\Session Manager\\Power";
const HIBERBOOT: &str = "HiberbootEnabled";
/// What idefilter says of the running boot: a volatile key, so that no hive has it.
const STATUS: &str = "Services\\idefilter\\Status";

/// Whether something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// It cannot be known from here.
    Unknown,
}

impl From<Option<bool>> for Answer {
    fn from(known: Option<bool>) -> Answer {
        match known {
            Some(true) => Answer::Yes,
            Some(false) => Answer::No,
            None => Answer::Unknown,
        }
    }
}

/// Something to know about the system.
#[derive(Clone, Debug)]
pub struct Fact {
    /// In a word or two.
    pub name: &'static str,
    /// For a reader.
    pub text: String,
    /// Whether it is so.
    pub answer: Answer,
    /// `add` goes on only when asked, if it is so.
    pub asks_before_add: bool,
}

/// A Windows, running or on a mounted volume.
#[derive(Debug)]
pub struct System {
    root: Option<PathBuf>,
    registry: Registry,
}

impl System {
    /// That on the volume mounted at `root`.
    #[must_use]
    pub fn below(root: &Path) -> System {
        System { root: Some(root.to_owned()), registry: Registry::below(root) }
    }

    /// That which a boot.ini or a store lies beside, if it does.
    #[must_use]
    pub fn beside(path: &Path) -> System {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let is_root = |folder: &&Path| {
            let has = |name: &str| matches!(crate::find::file(folder, name), Ok(Some(_)));
            has("hiberfil.sys")
                || ["Windows", "WINNT"].iter().any(|w| has(&format!("{w}/System32/config/SYSTEM")))
        };
        match absolute.ancestors().skip(1).take(4).find(is_root) {
            Some(root) => System::below(root),
            None => System {
                root: None,
                registry: Registry::Unknown("the guest's volume is not given; use --root".to_owned()),
            },
        }
    }

    /// The one that this program runs in.
    #[must_use]
    pub fn running() -> System {
        System { root: None, registry: Registry::running() }
    }

    /// The SYSTEM hive's file, where it is one.
    #[must_use]
    pub fn hive(&self) -> Option<&Path> {
        match &self.registry {
            Registry::Offline { path, .. } => Some(path),
            _ => None,
        }
    }

    fn is_running(&self) -> bool {
        self.registry.is_running()
    }

    /// Whether there is a hibernation image.
    #[must_use]
    pub fn hibernation(&self) -> Hibernation {
        match &self.root {
            Some(root) => match Hibernation::below(root) {
                // Only the volume that Windows is on has the file.
                Hibernation::None if !matches!(self.registry, Registry::Offline { .. }) => Hibernation::Unknown(
                    "this volume has no hiberfil.sys, but no Windows either; give the one that Windows is on by --root, \
                     and the boot configuration by --store or --boot-ini"
                        .to_owned(),
                ),
                known => known,
            },
            // It was resumed from, or is not there.
            None if self.is_running() => Hibernation::None,
            None => Hibernation::Unknown("the guest's volume is not given; use --root".to_owned()),
        }
    }

    /// Everything that is known.
    #[must_use]
    pub fn facts(&self) -> Vec<Fact> {
        let fact = |name, (answer, text): (Answer, String), asks_before_add| Fact {
            name,
            text,
            answer,
            asks_before_add,
        };
        vec![
            fact("drivers", self.drivers(), false),
            fact(if self.is_running() { "this boot" } else { "last boot" }, self.last_boot(), false),
            fact("the guard", self.guard(), false),
            fact("hibernation", self.hibernation().told(), false),
            fact("fast startup", self.fast_startup(), false),
            fact("Secure Boot", self.secure_boot(), true),
            fact("BitLocker", self.bitlocker(), true),
        ]
    }

    /// What is wrong, given whether there is a PV entry.
    #[must_use]
    pub fn check(&self, pv_entry: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        match self.hibernation() {
            Hibernation::Image => findings.push(Finding::wrong(
                "a hibernation image is present: resumed with other disks it destroys the volume. Boot the system as it was, \
                 and shut it down (`shutdown /s /t 0` with fast startup off)",
            )),
            Hibernation::Unknown(why) => findings.push(Finding::note(format!("hibernation is not known: {why}"))),
            Hibernation::None => {}
        }
        findings.extend(self.registry.replayed().map(Finding::note));
        if !pv_entry {
            return findings;
        }
        if self.fast_startup().0 == Answer::Yes {
            findings.push(Finding::wrong(
                "fast startup is on: a shutdown hibernates the kernel with its mounted volumes. `bootcfg add` turns it off, \
                 or `powercfg /h off`",
            ));
        }
        match self.drivers() {
            (Answer::No, text) => findings.push(Finding::note(format!(
                "the PV entry will boot emulated, since the drivers are not ready: {text}"
            ))),
            (Answer::Unknown, text) => findings.push(Finding::note(format!("drivers: {text}"))),
            (Answer::Yes, _) => {}
        }
        findings
    }

    /// A volume with a hibernation image must not be written from outside, not even its boot files.
    ///
    /// # Errors
    /// There is one.
    pub fn refuse_offline_edit_of_hibernated(&self, dry_run: bool) -> Result<()> {
        if self.hibernation() == Hibernation::Image && !dry_run {
            told!(
                Refused,
                "the guest is hibernated (or was shut down with fast startup): writing to its volume now would be lost or \
                 destroy it. Boot it as it was and shut it down, with fast startup off, then try again"
            );
        }
        Ok(())
    }

    /// A PV default needs drivers; without them every boot is emulated, and says so nowhere.
    ///
    /// # Errors
    /// It is known that they are not there.
    pub fn refuse_pv_without_drivers(&self, dry_run: bool) -> Result<()> {
        match self.drivers() {
            (Answer::No, text) if !dry_run => {
                told!(Refused, "the PV entry would boot emulated, since the drivers are not ready: {text}")
            }
            _ => Ok(()),
        }
    }

    /// Sets `HiberbootEnabled` to 0 where it is on.
    ///
    /// # Errors
    /// The registry cannot be written.
    pub fn turn_fast_startup_off(&self, session: &mut Session) -> Result<()> {
        if self.fast_startup().0 != Answer::Yes {
            return Ok(());
        }
        if session.global.dry_run {
            session.output.say(Tone::Plain, "Fast startup would be turned off (HiberbootEnabled = 0)");
            return Ok(());
        }
        let kept = self.registry.set_dword(POWER, HIBERBOOT, 0).context(
            "the boot entry is as asked, but fast startup is still on; turn it off (`powercfg /h off`) before the first PV boot",
        )?;
        session.output.say(Tone::Good, "Fast startup is off now (HiberbootEnabled = 0)");
        if let Some(kept) = kept {
            session.output.say(Tone::Faint, &format!("The old SYSTEM hive is kept as {}", kept.display()));
        }
        Ok(())
    }

    fn drivers(&self) -> (Answer, String) {
        let mut states = Vec::new();
        let mut ready = true;
        for name in DRIVERS {
            let start = match self.registry.dword(&format!("Services\\{name}"), "Start") {
                Ok(start) => start,
                Err(error) => return (Answer::Unknown, format!("unknown ({error:#})")),
            };
            ready &= start == Some(BOOT_START);
            let state = match start {
                Some(BOOT_START) => "boot start".to_owned(),
                Some(4) => "disabled".to_owned(),
                Some(other) => format!("start type {other}"),
                None => "not installed".to_owned(),
            };
            states.push(format!("{name}: {state}"));
        }
        (Some(ready).into(), states.join(", "))
    }

    fn last_boot(&self) -> (Answer, String) {
        match self.registry.text(CONTROL, "SystemStartOptions") {
            Ok(Some(options)) => {
                let parsed = BootOptions::parse(options.encode_utf16());
                let pv = parsed.selects_pv() && !parsed.safe_boot();
                let text = if pv { "PV entry chosen" } else { "emulated entry chosen" };
                (
                    Some(pv).into(),
                    format!(
                        "{text} (options:{} {})",
                        if options.starts_with(' ') { "" } else { " " },
                        options.trim()
                    ),
                )
            }
            Ok(None) => (Answer::Unknown, "unknown (no SystemStartOptions)".to_owned()),
            Err(error) => (Answer::Unknown, format!("unknown ({error:#})")),
        }
    }

    /// What the guard made of this boot.
    fn guard(&self) -> (Answer, String) {
        if !self.is_running() {
            return (Answer::Unknown, "unknown (told by the running system only)".to_owned());
        }
        match self.registry.dword(STATUS, "Reason") {
            Ok(Some(code)) => {
                let reason = Reason::from_code(code);
                let text = reason.map_or("a reason of another version", Reason::text);
                (Some(reason == Some(Reason::PvSelected)).into(), format!("{text} (reason {code:#x})"))
            }
            Ok(None) => (Answer::Unknown, "has said nothing (idefilter does not run)".to_owned()),
            Err(error) => (Answer::Unknown, format!("unknown ({error:#})")),
        }
    }

    fn fast_startup(&self) -> (Answer, String) {
        match self.registry.dword(POWER, HIBERBOOT) {
            Ok(Some(0)) => (Answer::No, "off".to_owned()),
            Ok(Some(_)) => (Answer::Yes, "on".to_owned()),
            Ok(None) => (Answer::No, "not set (as before Windows 8)".to_owned()),
            Err(error) => (Answer::Unknown, format!("unknown ({error:#})")),
        }
    }

    fn secure_boot(&self) -> (Answer, String) {
        if !self.is_running() {
            // The value is made at each boot and not kept in the hive.
            return (Answer::Unknown, "unknown (told by the running system only)".to_owned());
        }
        match self.registry.dword("Control\\SecureBoot\\State", "UEFISecureBootEnabled") {
            Ok(Some(0)) => (Answer::No, "off".to_owned()),
            Ok(Some(_)) => (
                Answer::Yes,
                "on: the loader may drop options it does not know, and drivers must be signed for it; not tested with it"
                    .to_owned(),
            ),
            Ok(None) => (Answer::No, "not there (BIOS)".to_owned()),
            Err(error) => (Answer::Unknown, format!("unknown ({error:#})")),
        }
    }

    fn bitlocker(&self) -> (Answer, String) {
        let advice = "a changed boot entry asks for the recovery key: suspend it first (manage-bde -protectors -disable C:)";
        let told = |on| match on {
            Some(true) => format!("on: {advice}"),
            Some(false) => "off".to_owned(),
            None => "unknown (the volume's boot sector cannot be read from here)".to_owned(),
        };
        let on = match &self.root {
            Some(root) => boot_sector::is_bitlocker(root),
            None if self.is_running() => {
                match self.registry.dword("Control\\BitLockerStatus", "BootStatus") {
                    Ok(status) => Some(status.unwrap_or(0) != 0),
                    Err(_) => None,
                }
            }
            None => None,
        };
        (on.into(), told(on))
    }
}
