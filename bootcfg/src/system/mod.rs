//! The Windows that a boot configuration is of: its drivers, and what stands against a change of its disks.
//!
//! Offline it is read from the mounted volume: `hiberfil.sys`, the SYSTEM hive, the volume's boot sector. In
//! the running Windows it is read from the registry. What cannot be known is said to be unknown.

pub(crate) mod boot_sector;
mod hibernation;
#[cfg(target_os = "linux")]
pub mod in_use;
pub(crate) mod raw_value;
mod records;
pub(crate) mod registry;
#[cfg(windows)]
mod registry_windows;
pub(crate) mod suite;
mod survey;

use anyhow::{Context, Result};
use guard::{Reason, last_boot::LastBoot, options::BootOptions};
use hive::data_type;
use std::path::{Path, PathBuf};

use crate::{
    bail_as,
    code_page::CodePage,
    guest_files,
    hive_edit::Edit,
    image::{Kernel, Signature},
    menu::{Entry, Finding},
    output::{Output, Tone},
};
pub use hibernation::Hibernation;
pub use records::Records;
use registry::Registry;
use suite::{Judgement, Rules};

const CONTROL: &str = "Control";
const POWER: &str = "Control\\Session Manager\\Power";
const ENVIRONMENT: &str = "Control\\Session Manager\\Environment";
const CODE_PAGES: &str = "Control\\Nls\\CodePage";
const HIBERBOOT: &str = "HiberbootEnabled";
/// Key of what idefilter says of the running boot: a volatile key, so that no hive has it.
const STATUS: &str = "Services\\idefilter\\Status";
/// The first version whose x64 loader checks signatures: Vista.
const CHECKS_SIGNATURES: (u16, u16) = (6, 0);

/// True if something is so.
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

impl Answer {
    /// Returns its word in `--json`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Answer::Yes => "yes",
            Answer::No => "no",
            Answer::Unknown => "unknown",
        }
    }
}

/// Something to know about the system.
#[derive(Clone, Debug)]
pub struct Fact {
    /// In a word or two.
    pub name: &'static str,
    /// In `--json`.
    pub key: &'static str,
    /// For a reader.
    pub text: String,
    /// True if it is so.
    pub answer: Answer,
    /// `add` goes on only when asked, if it is so.
    pub asks_before_add: bool,
}

/// A Windows, running or on a mounted volume.
#[derive(Debug)]
pub struct System {
    /// The mounted volume.
    root: Option<PathBuf>,
    /// The folder of Windows.
    windows: Option<PathBuf>,
    registry: Registry,
    /// The menu is a BCD, so it is NT 6.0 or later; unknown where no menu is at hand.
    has_bcd: Option<bool>,
}

impl System {
    /// Returns the system in a folder of the volume mounted at `root`; no folder where the volume has none, or
    /// it is not known which.
    #[must_use]
    pub fn below(root: &Path, folder: std::result::Result<&str, String>) -> System {
        let (windows, registry) = match folder {
            Ok(name) => (guest_files::path(root, name), Registry::below(root, name)),
            Err(why) => (None, Registry::Unknown(why)),
        };
        System { root: Some(root.to_owned()), windows, registry, has_bcd: None }
    }

    /// One that cannot be looked at.
    #[must_use]
    pub fn unknown() -> System {
        let why = "the guest's volume is not given; use --root".to_owned();
        System { root: None, windows: None, registry: Registry::Unknown(why), has_bcd: None }
    }

    /// Returns the one that this program runs in; `hive` stands for its registry, in tests.
    #[must_use]
    pub fn running(hive: Option<&Path>) -> System {
        let registry = hive.map_or_else(Registry::running, |hive| Registry::of_file(hive, true));
        let windows = std::env::var_os("SystemRoot").filter(|_| registry.is_running()).map(PathBuf::from);
        System { root: None, windows, registry, has_bcd: None }
    }

    /// With the kind of its boot menu, which tells the version where the kernel's file does not.
    #[must_use]
    pub fn with_menu(self, has_bcd: Option<bool>) -> System {
        System { has_bcd, ..self }
    }

    /// Returns the SYSTEM hive's file, where it is one.
    #[must_use]
    pub fn hive(&self) -> Option<&Path> {
        match &self.registry {
            Registry::Offline { path, running: false, .. } => Some(path),
            _ => None,
        }
    }

    /// Returns the registry.
    #[must_use]
    pub(crate) const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns the folder of Windows.
    #[must_use]
    pub fn windows(&self) -> Option<&Path> {
        self.windows.as_deref()
    }

    /// Returns the number of the OEM code page that Windows is set to.
    ///
    /// # Errors
    /// The registry cannot be read, or does not say it.
    pub fn code_page(&self) -> Result<u16> {
        let text = self.registry.text(CODE_PAGES, "OEMCP")?.context("the registry does not name it")?;
        text.parse().with_context(|| format!("the registry has {text} for it"))
    }

    fn is_running(&self) -> bool {
        self.registry.is_running()
    }

    fn kernel(&self) -> Option<Kernel> {
        let file = guest_files::file(self.windows.as_deref()?, "System32/ntoskrnl.exe").ok()??;
        Kernel::of_file(&file)
    }

    /// Returns true if the loader asks for signatures.
    fn checks_signatures(&self) -> Option<bool> {
        match self.kernel() {
            Some(kernel) => Some(kernel.version >= CHECKS_SIGNATURES),
            None => self.has_bcd,
        }
    }

    /// Refuses a Windows that cannot load these drivers: of another architecture, or whose loader asks for a
    /// signature that they have not.
    ///
    /// # Errors
    /// It cannot load them, or it is not known whether it can.
    pub fn refuse_unfit(&self, signature: Signature, entries: Option<&[Entry]>) -> Result<()> {
        let named = self.registry.text(ENVIRONMENT, "PROCESSOR_ARCHITECTURE");
        match (self.kernel(), named) {
            (Some(kernel), _) if !kernel.is_x64 => {
                bail_as!(
                    Refused,
                    "this Windows is not x64 (by its kernel), and the drivers are: nothing boots with them in it"
                )
            }
            (_, Ok(Some(name))) if !name.eq_ignore_ascii_case("AMD64") => {
                bail_as!(
                    Refused,
                    "this Windows is for {name}, and the drivers are for AMD64: nothing boots with them in it"
                )
            }
            (Some(_), _) | (None, Ok(Some(_))) => {}
            (None, Ok(None)) => bail_as!(
                Refused,
                "the registry does not say which processor this Windows is for (PROCESSOR_ARCHITECTURE), and it has no \
                 System32\\ntoskrnl.exe: it may not be x64"
            ),
            (None, Err(error)) => {
                return Err(error.context("which processor this Windows is for cannot be known"));
            }
        }
        let why = "x64 Windows from Vista on loads signed boot drivers only, and with the filter in four class lists and not \
                   loaded no entry boots (0x7B)";
        if self.checks_signatures() == Some(false) || signature == Signature::Trusted {
            return Ok(());
        }
        if self.checks_signatures().is_none() {
            bail_as!(
                Refused,
                "the version of this Windows is not known, and the drivers have no signature that every version takes: {why}. \
                 Name its boot menu by --store or --boot-ini"
            );
        }
        if signature == Signature::None {
            bail_as!(Refused, "the drivers are not signed: {why}. See \"Signing\" in the admin guide");
        }
        if self.secure_boot().0 == Answer::Yes {
            bail_as!(
                Refused,
                "the drivers are signed for tests, which does not count while Secure Boot is on: {why}"
            );
        }
        let Some(entries) = entries else {
            bail_as!(
                Refused,
                "the drivers are signed for tests, and the boot menu, which says whether test signing is on, is not at hand: \
                 {why}. Name it by --store"
            );
        };
        let mut without = Vec::new();
        for entry in entries.iter().filter(|entry| entry.loads == crate::menu::Loads::Windows) {
            if entry.test_signing != Some(true) {
                without.push(format!("{} ({})", entry.number, entry.id));
            }
        }
        if !without.is_empty() {
            bail_as!(
                Refused,
                "the drivers are signed for tests, and test signing is off in entry {}: {why}. On test machines switch it on \
                 in each entry (bcdedit /set {{id}} testsigning on), otherwise take a package that Microsoft has signed; \
                 see \"Signing\" in the admin guide",
                without.join(", ")
            );
        }
        Ok(())
    }

    /// Returns true if there is a hibernation image.
    #[must_use]
    pub fn hibernation(&self) -> Hibernation {
        match &self.root {
            Some(root) => match Hibernation::below(root) {
                // Only the volume that Windows is on has the file.
                Hibernation::None if self.windows.is_none() => Hibernation::Unknown(
                    "this volume has no hiberfil.sys, and is not known to be that of Windows; give that one by --root, and the \
                     boot configuration by --store or --boot-ini"
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
    pub fn facts(&self, entries: &[Entry]) -> Vec<Fact> {
        let fact = |name, key, (answer, text): (Answer, String), asks_before_add| Fact {
            name,
            key,
            text,
            answer,
            asks_before_add,
        };
        let drivers = match self.judge(entries) {
            Ok(judgement) => (judgement.ready, judgement.text),
            Err(error) => (Answer::Unknown, format!("unknown ({error:#})")),
        };
        let (boot, ended) = match self.is_running() {
            true => (("this boot", "this_boot"), "the boot before"),
            false => (("last boot", "last_boot"), "how it ended"),
        };
        // Names in a BCD are Unicode.
        let code_page = (self.has_bcd != Some(true))
            .then(|| fact("OEM code page", "code_page", self.told_code_page(), false));
        let records = self.records();
        let end = |boot: LastBoot| (Answer::from(boot.ended_in_order()), boot.to_string());
        let last =
            records.last.map_or_else(|| (Answer::Unknown, "unknown (no record of it)".to_owned()), end);
        let before = records.before.map(|boot| fact("the boot before", "before_ended", end(boot), false));
        let facts = [
            fact("drivers", "drivers", drivers, false),
            fact(boot.0, boot.1, self.last_boot(), false),
            fact("the guard", "guard", self.guard(), false),
            fact(ended, "last_ended", last, false),
            fact("hibernation", "hibernation", self.hibernation().answer(), false),
            fact("fast startup", "fast_startup", self.fast_startup(), false),
            fact("Secure Boot", "secure_boot", self.secure_boot(), true),
            fact("BitLocker", "bitlocker", self.bitlocker(), true),
        ];
        facts.into_iter().chain(before).chain(code_page).collect()
    }

    /// Returns the records that boots have left.
    #[must_use]
    pub fn records(&self) -> Records {
        Records::read(&self.registry, self.root.as_deref(), self.windows())
    }

    /// Returns what is to be said of the code page of boot.ini's names.
    fn told_code_page(&self) -> (Answer, String) {
        match self.code_page() {
            Ok(number) if CodePage::of_number(number).is_some() => (Answer::Yes, number.to_string()),
            Ok(number) => (Answer::Unknown, format!("unknown ({number} has no table here)")),
            Err(error) => {
                (Answer::Unknown, format!("unknown ({error:#}); bytes outside ASCII are shown as \\x88"))
            }
        }
    }

    /// Returns the suite as the loader and PnP will find it at the next boot.
    ///
    /// # Errors
    /// The registry cannot be read.
    pub fn judge(&self, entries: &[Entry]) -> Result<Judgement> {
        let rules =
            Rules { signed: self.checks_signatures(), secure_boot: self.secure_boot().0 == Answer::Yes };
        let sets = self.registry.next_sets()?;
        let set = sets.first().context("the registry has no control set")?;
        suite::judge(&self.registry, set, self.windows.as_deref(), rules, entries)
    }

    /// Finds what in the registry and among drivers' files stands against an installation, or against any boot.
    #[must_use]
    pub fn survey(&self) -> Vec<Finding> {
        let found = self.registry.next_sets().and_then(|sets| {
            let set = sets.first().context("the registry has no control set")?;
            survey::survey(&self.registry, set, self.windows.as_deref())
        });
        found.unwrap_or_else(|error| {
            vec![Finding::wrong(format!("the registry was not looked at: {error:#}"))]
        })
    }

    /// Returns the problems, given the entries of the menu.
    #[must_use]
    pub fn check(&self, entries: &[Entry]) -> Vec<Finding> {
        let pv_entry = entries.iter().any(|entry| entry.pv);
        let mut findings = Vec::new();
        if let Some(replayed) = self.registry.replayed() {
            findings.push(Finding::note(replayed));
        }
        match self.hibernation() {
            Hibernation::Image => findings.push(Finding::wrong(
                "a hibernation image is present: resumed with other disks it destroys the volume. Boot the system as it was, \
                 and shut it down (`shutdown /s /t 0` with fast startup off)",
            )),
            Hibernation::Unknown(why) => findings.push(Finding::note(format!("hibernation is not known: {why}"))),
            Hibernation::None => {}
        }
        match self.judge(entries) {
            Ok(judgement) => {
                if pv_entry && judgement.ready == Answer::No && judgement.findings.is_empty() {
                    findings.push(Finding::note(format!(
                        "the PV entry will boot emulated, since the drivers are not ready: {}",
                        judgement.text
                    )));
                }
                if pv_entry && judgement.ready == Answer::Unknown {
                    findings
                        .push(Finding::note(format!("the driver files were not seen: {}", judgement.text)));
                }
                findings.extend(judgement.findings);
            }
            Err(error) if pv_entry => findings.push(Finding::note(format!("drivers: unknown ({error:#})"))),
            Err(_) => {}
        }
        if pv_entry {
            match self.fast_startup() {
                (Answer::Yes, _) => findings.push(Finding::wrong(
                    "fast startup is on: a shutdown hibernates the kernel with its mounted volumes. `xenguard add` turns it \
                     off, or `powercfg /h off`",
                )),
                (Answer::Unknown, text) => findings.push(Finding::note(format!(
                    "fast startup is {text}: if it is on, a shutdown hibernates the kernel with its mounted volumes"
                ))),
                (Answer::No, _) => {}
            }
        }
        findings
    }

    /// Refuses to edit a volume with a hibernation image: it must not be written from outside, not even its boot
    /// files.
    ///
    /// # Errors
    /// There is one.
    pub fn refuse_offline_edit_of_hibernated(&self, dry_run: bool) -> Result<()> {
        if self.hibernation() == Hibernation::Image && !dry_run {
            bail_as!(
                Refused,
                "the guest is hibernated (or was shut down with fast startup): writing to its volume now would be lost or \
                 destroy it. Boot it as it was and shut it down, with fast startup off, then try again"
            );
        }
        Ok(())
    }

    /// Refuses a PV default without drivers. Without them every boot is emulated, and says so nowhere. Marks of
    /// `StartOverride` are no obstacle, since they are taken away with it.
    ///
    /// # Errors
    /// It is known that they are not there.
    pub fn refuse_pv_without_drivers(
        &self,
        output: &mut Output,
        dry_run: bool,
        entries: &[Entry],
    ) -> Result<()> {
        match self.judge(entries) {
            Ok(judgement) if judgement.ready == Answer::No && !dry_run => {
                let only_marks =
                    suite::overridden(&self.registry, &self.registry.next_sets()?[0], &suite::NEEDED)
                        .is_ok_and(|marks| !marks.is_empty() && marks.len() == judgement.obstacles);
                if !only_marks {
                    bail_as!(
                        Refused,
                        "the PV entry would boot emulated, since the drivers are not ready: {}{}",
                        judgement.text,
                        judgement
                            .findings
                            .first()
                            .map_or(String::new(), |finding| format!(". {}", finding.text))
                    );
                }
            }
            Ok(judgement) if judgement.ready == Answer::Unknown => output
                .warn(format!("whether the PV entry finds its drivers is not known: {}", judgement.text)),
            Ok(_) => {}
            Err(error) => {
                output.warn(format!("whether the PV entry finds its drivers is not known: {error:#}"))
            }
        }
        Ok(())
    }

    /// Returns the edits that turn fast startup off and take marks of `StartOverride` away, in every set that
    /// the next boot may take.
    ///
    /// # Errors
    /// The registry cannot be read.
    pub fn preparations(&self) -> Result<Vec<Edit>> {
        let mut edits = suite::without_overrides(&self.registry)?;
        for set in self.registry.next_sets()? {
            let key = format!("{set}\\{POWER}");
            if self.registry.value(&key, HIBERBOOT)?.and_then(|value| value.dword()).is_some_and(|on| on != 0)
            {
                let data = 0_u32.to_le_bytes().to_vec();
                edits.push(Edit::Set { key, name: HIBERBOOT.to_owned(), kind: data_type::DWORD, data });
            }
        }
        Ok(edits)
    }

    /// Takes marks of `StartOverride` away from the drivers of both sides, and returns the services that had one.
    ///
    /// # Errors
    /// The registry cannot be read or written.
    pub fn mend_start_override(&self) -> Result<Vec<String>> {
        let edits = suite::without_overrides(&self.registry)?;
        self.registry.apply(&edits)?;
        let service = |edit: &Edit| match edit {
            Edit::DeleteKey { key } => key.rsplit('\\').nth(1).map(str::to_owned),
            _ => None,
        };
        let mut services: Vec<_> = edits.iter().filter_map(service).collect();
        // Of two control sets.
        services.sort();
        services.dedup();
        Ok(services)
    }

    /// Makes the next boots safe for a change of disks: fast startup goes off, and so do marks by which the
    /// loader would leave out the drivers of one entry. Where that cannot be known it is said.
    ///
    /// # Errors
    /// The registry cannot be written.
    pub fn prepare(&self, output: &mut Output, dry_run: bool) -> Result<()> {
        let edits = match self.preparations() {
            Ok(edits) => edits,
            Err(error) => {
                output.warn(format!(
                    "fast startup and StartOverride were not looked at ({error:#}): if fast startup is on, a shutdown \
                     hibernates the kernel with its mounted volumes, and a boot with other disks destroys them. Turn it \
                     off in the guest (`powercfg /h off`) before the first PV boot"
                ));
                return Ok(());
            }
        };
        if edits.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for edit in &edits {
            lines.push(match edit {
                Edit::DeleteKey { key } => format!("{key} goes, so that the driver is loaded"),
                _ => "Fast startup goes off (HiberbootEnabled = 0)".to_owned(),
            });
        }
        lines.dedup();
        for line in &lines {
            output.say(Tone::Plain, line);
        }
        if dry_run {
            return Ok(());
        }
        let kept = self.registry.apply(&edits).context(
            "the boot entry is as asked, but fast startup or a mark of StartOverride is as it was; turn fast startup off \
             (`powercfg /h off`) before the first PV boot",
        )?;
        if let Some(kept) = kept {
            output.kept("The old SYSTEM hive", &kept);
        }
        Ok(())
    }

    fn last_boot(&self) -> (Answer, String) {
        match self.registry.text_of_last(CONTROL, "SystemStartOptions") {
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

    /// Returns the guard's verdict on this boot.
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
        let text = |on| match on {
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
        (on.into(), text(on))
    }
}
