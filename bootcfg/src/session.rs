//! Tools of every command: where the boot configuration is, how to speak, and how a change is made.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
use crate::system::in_use::InUse;
use crate::{
    bail_as,
    bcd::bcdedit::Bcdedit,
    cli::Global,
    code_page::CodePage,
    configuration::Configuration,
    find, guest_files,
    menu::{self, Entry, Finding, Loads},
    named::Named,
    output::{Output, Tone},
    place::{Live, Place},
    system::{Hibernation, System},
};

/// One run of bootcfg.
#[derive(Debug)]
pub struct Session {
    /// Options of every command.
    pub global: Global,
    /// Speaks to the user.
    pub output: Output,
}

impl Session {
    /// Returns the boot configuration that the command line means.
    ///
    /// # Errors
    /// None is found, or several.
    pub fn place(&self) -> Result<Place> {
        let place = self.named_place()?;
        // Only a Windows that is set to it knows the code page.
        let code_page = match &place {
            Place::BootIni(..) => self.system(&place).code_page().ok().and_then(CodePage::of_number),
            Place::Store(_) | Place::Live(_) => None,
        };
        Ok(match place {
            Place::BootIni(path, _) => Place::BootIni(path, code_page),
            other => other,
        })
    }

    /// Returns the boot configuration that the command line means, whatever its code page.
    fn named_place(&self) -> Result<Place> {
        let global = &self.global;
        if let Some(path) = &global.boot_ini {
            return Ok(Place::BootIni(path.clone(), None));
        }
        if let Some(path) = &global.store {
            return Ok(Place::Store(path.clone()));
        }
        if let Some(root) = &global.root {
            return find::below(root);
        }
        if let Some(program) = &global.bcdedit {
            return Ok(Place::Live(live(Bcdedit::at(program.clone()))));
        }
        if cfg!(windows) {
            let bcdedit = Bcdedit::of_system();
            if bcdedit.exists() {
                return Ok(Place::Live(live(bcdedit)));
            }
            let drive = std::env::var("SystemDrive").unwrap_or_else(|_| "C:".to_owned());
            return match running_boot_ini() {
                Some(path) => Ok(Place::BootIni(path, None)),
                None => find::below(Path::new(&format!("{drive}\\"))),
            };
        }
        bail_as!(
            Usage,
            "say which boot configuration: --root DIR where the guest's system volume is mounted, --boot-ini FILE or --store BCD"
        )
    }

    /// Returns the number of the entry that the command line names, if it names one.
    ///
    /// # Errors
    /// It is no entry of the menu, or which one is meant is not known here.
    pub fn number_of(&self, place: &Place, named: Option<&Named>) -> Result<Option<usize>> {
        let named = match named {
            None => return Ok(None),
            Some(Named::Number(number)) => return Ok(Some(*number)),
            Some(named) => named,
        };
        let current = || match place {
            Place::Live(live) => live.bcdedit.current(),
            _ => bail_as!(
                Refused,
                "{{current}} is the entry that the running Windows was booted by, and only a running Windows with a BCD \
                 knows it; name the entry by its number or {{default}}"
            ),
        };
        named.number(place.read()?.configuration.menu(), current).map(Some)
    }

    /// Returns the Windows that the default entry of the boot configuration is of.
    #[must_use]
    pub fn system(&self, place: &Place) -> System {
        self.system_of(place, None)
    }

    /// Returns the Windows that an entry of the boot configuration is of, or else the default one.
    #[must_use]
    pub fn system_of(&self, place: &Place, entry: Option<usize>) -> System {
        let has_bcd = Some(!matches!(place, Place::BootIni(..)));
        let global = &self.global;
        if global.registry.is_some() || !self.is_offline(place) {
            return System::running(global.registry.as_deref()).with_menu(has_bcd);
        }
        let entries = place.read().map(|read| read.configuration.menu().entries()).unwrap_or_default();
        let entry = match entry {
            Some(number) => entries.iter().find(|entry| entry.number == number),
            None => usual(&entries),
        };
        if let Some(root) = &global.root {
            return self.system_below(root, &entries, entry).with_menu(has_bcd);
        }
        let (Place::BootIni(path, _) | Place::Store(path)) = place else { return System::unknown() };
        // Both lie at the root of the system volume, or in a folder there.
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let folder = entry.and_then(|entry| entry.folder.clone());
        let is_root = |root: &&Path| {
            matches!(guest_files::file(root, "hiberfil.sys"), Ok(Some(_)))
                || folder.iter().any(|folder| guest_files::path(root, folder).is_some())
        };
        match absolute.ancestors().skip(1).take(4).find(is_root) {
            Some(root) => self.system_below(root, &entries, entry),
            None => System::unknown(),
        }
        .with_menu(has_bcd)
    }

    fn system_below(&self, root: &Path, entries: &[Entry], entry: Option<&Entry>) -> System {
        let folder = self.folder_of(root, entries, entry);
        System::below(root, folder.as_deref().map_err(|error| format!("{error:#}")))
    }

    /// Returns the folder of Windows below `root`: that which was named, or that of the entry, one of a menu's `entries`.
    ///
    /// # Errors
    /// There is none, or it is not known which.
    pub fn folder_of(&self, root: &Path, entries: &[Entry], entry: Option<&Entry>) -> Result<String> {
        let has = |folder: &str| {
            Ok::<_, anyhow::Error>(
                guest_files::file(root, &format!("{folder}/{}", guest_files::HIVE))?.is_some(),
            )
        };
        if let Some(folder) = &self.global.windows {
            let folder = folder.replace('\\', "/");
            let folder = folder.trim_matches('/');
            if has(folder)? {
                return Ok(folder.to_owned());
            }
            bail_as!(Unusable, "{} has no {folder}/{}", root.display(), guest_files::HIVE)
        }
        if let Some(entry) = entry.filter(|entry| entry.loads != Loads::Windows) {
            bail_as!(
                Refused,
                "entry {} does not load Windows; choose one that does by --entry, or name the folder by --windows",
                entry.number
            );
        }
        let named = entry.and_then(|entry| entry.folder.clone());
        // The menu does not say which of its partitions is mounted here.
        let alike = entry.map(|entry| menu::on_different_volumes(entries, entry)).unwrap_or_default();
        if let (Some(folder), false) = (&named, alike.is_empty()) {
            let numbers: Vec<_> = alike.iter().map(ToString::to_string).collect();
            bail_as!(
                Refused,
                "entries {} are of Windows in folders named {folder} on different partitions, and which of these is mounted \
                 at {} is not known. See that it is that of the entry that you mean (the default, or --entry), and say \
                 --windows {folder}",
                numbers.join(", "),
                root.display()
            );
        }
        if let Some(folder) = &named
            && has(folder)?
        {
            return Ok(folder.clone());
        }
        let mut found = guest_files::windows(root)?;
        match (named, found.len()) {
            (_, 0) => bail_as!(
                Unusable,
                "{} has no Windows/{}: is it the volume that Windows is on?",
                root.display(),
                guest_files::HIVE
            ),
            (None, 1) => Ok(found.remove(0)),
            (None, _) => bail_as!(
                Refused,
                "{} has several Windows ({}); say which by --windows",
                root.display(),
                found.join(", ")
            ),
            (Some(named), _) => bail_as!(
                Refused,
                "the entry is of {named}, which is not below {}; there is {}. Say which entry by --entry, or which folder by \
                 --windows",
                root.display(),
                found.join(", ")
            ),
        }
    }

    /// Refuses to write to a volume with a hibernation image, not even its boot files. Where it cannot be
    /// known, it is said.
    ///
    /// # Errors
    /// There is an image.
    pub fn refuse_hibernated(&mut self, place: &Place) -> Result<()> {
        self.refuse_hibernated_system(&self.system(place))
    }

    /// Does what [`Session::refuse_hibernated`] does, of a Windows that is known.
    ///
    /// # Errors
    /// There is an image.
    pub fn refuse_hibernated_system(&mut self, system: &System) -> Result<()> {
        if let Hibernation::Unknown(why) = system.hibernation() {
            self.output.warn(format!(
                "whether the guest is hibernated is not known: {why}. If it is, what is written now is lost or destroys its \
                 volume"
            ));
        }
        system.refuse_offline_edit_of_hibernated(self.global.dry_run)?;
        self.refuse_in_use()
    }

    /// Refuses to write once a question is answered, if the guest was started or hibernated meanwhile.
    ///
    /// # Errors
    /// There is an image, or the disk is in use.
    pub fn look_again(&self, system: &System) -> Result<()> {
        system.refuse_offline_edit_of_hibernated(self.global.dry_run)?;
        self.refuse_in_use()
    }

    /// Refuses to write to a volume whose disk a domain of this host is using.
    fn refuse_in_use(&self) -> Result<()> {
        #[cfg(target_os = "linux")]
        for (volume, used) in self.uses() {
            if let (InUse::By(users), false) = (used, self.global.dry_run) {
                bail_as!(
                    Refused,
                    "the disk of {} is in use by {}: what two write at once is destroyed. Shut the guest down first",
                    volume.display(),
                    users.join(", ")
                );
            }
        }
        Ok(())
    }

    /// Returns what `check` says of domains that use the volumes that were named.
    #[must_use]
    pub fn findings_of_use(&self) -> Vec<Finding> {
        #[cfg(target_os = "linux")]
        let findings = self
            .uses()
            .into_iter()
            .filter_map(|(volume, used)| match used {
                InUse::No => None,
                InUse::By(users) => Some(Finding::wrong(format!(
                    "the disk of {} is in use by {}: shut the guest down before anything is written",
                    volume.display(),
                    users.join(", ")
                ))),
                InUse::Unknown(why) => Some(Finding::note(format!(
                    "whether a domain is using the disk of {} is unknown ({why}): see to it that the guest is shut down",
                    volume.display()
                ))),
            })
            .collect();
        #[cfg(not(target_os = "linux"))]
        let findings = Vec::new();
        findings
    }

    /// Returns the folders that were named, and who uses the disks of their volumes.
    #[cfg(target_os = "linux")]
    fn uses(&self) -> Vec<(PathBuf, InUse)> {
        let Global { root, store, boot_ini, .. } = &self.global;
        let folder = |file: &PathBuf| {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            folder.map_or_else(|| PathBuf::from("."), Path::to_owned)
        };
        let files = [store, boot_ini].into_iter().flatten().map(folder);
        let volumes = root.clone().into_iter().chain(files);
        volumes.map(|volume| (volume.clone(), InUse::of_volume(&volume))).collect()
    }

    /// Returns true if a file would lie on the volume of the boot configuration, or on the one at `--root`.
    #[must_use]
    pub fn is_on_the_volume(&self, place: &Place, file: &Path) -> bool {
        let beside = match place {
            Place::BootIni(path, _) | Place::Store(path) => Some(path.as_path()),
            Place::Live(_) => None,
        };
        let volumes = [beside, self.global.root.as_deref()].into_iter().flatten();
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let file = absolute(file);
        let folder = file.parent().unwrap_or(&file);
        volumes.into_iter().any(|volume| {
            let volume = absolute(volume);
            folder.starts_with(&volume) || same_device(folder, &volume)
        })
    }

    /// Returns true if the files were named, so they may be of any machine; unless what was named is this
    /// machine's own.
    fn is_offline(&self, place: &Place) -> bool {
        let global = &self.global;
        if global.root.is_some() || global.store.is_some() {
            return true;
        }
        match place {
            Place::BootIni(path, _) if global.boot_ini.is_some() => {
                !running_boot_ini().is_some_and(|running| is_same_file(&running, path))
            }
            _ => false,
        }
    }

    /// Makes a change: shows it, asks where it should, and writes it, with a backup. Returns what `--json`
    /// shows.
    ///
    /// `work` gets the configuration to edit and returns a line for the user and facts for `--json`. Numbers that it has
    /// are those of that configuration: one that is another once other bootcfgs are locked out is not changed.
    ///
    /// # Errors
    /// Of `work`; not confirmed; the configuration or the guest is not as it was before the question; or the change could
    /// not be written.
    pub fn change(
        &mut self,
        place: &Place,
        question: Option<&str>,
        work: impl FnOnce(&mut Configuration) -> Result<(String, Value)>,
    ) -> Result<Value> {
        let read = place.read()?;
        let mut new = read.configuration.clone();
        let (line, mut facts) = work(&mut new)?;
        let changed = new != read.configuration;
        facts["changed"] = json!(changed);
        if !changed {
            self.output.say(Tone::Good, &line);
            return Ok(facts);
        }
        if self.global.dry_run || self.global.verbose {
            facts["diff"] = json!(self.show_difference(place, &read.configuration, &new));
        }
        if self.global.dry_run {
            facts["changed"] = json!(false);
            facts["would_change"] = json!(true);
            return Ok(facts);
        }
        if let Some(question) = question {
            self.confirm(question)?;
            self.look_again(&self.system(place))?;
        }
        let _lock = place.lock()?;
        let read = place.read_again(&read)?;
        let backup = place.write(&read, &new)?;
        facts["changed"] = json!(true);
        facts["backup"] = json!(backup.display().to_string());
        if let (Place::Live(_), Some(number)) = (place, facts["entry"]["number"].as_u64()) {
            // bcdedit chose the identifier.
            let now = place.read()?.configuration.menu().entries();
            let entry = now.into_iter().find(|entry| entry.number as u64 == number);
            facts["entry"] = json!(entry.map(|entry| entry.json()));
        }
        self.output.say(Tone::Good, &line);
        self.output.say(Tone::Faint, &format!("The old state is kept as {}", backup.display()));
        Ok(facts)
    }

    /// Goes on only with a yes.
    ///
    /// # Errors
    /// There is none.
    pub fn confirm(&self, question: &str) -> Result<()> {
        if self.global.yes || self.global.dry_run {
            return Ok(());
        }
        match self.output.ask(question) {
            Some(true) => Ok(()),
            Some(false) => bail_as!(Declined, "nothing was changed"),
            None => bail_as!(Declined, "{question} Confirm with --yes; nothing was changed"),
        }
    }

    /// Prints the lines that differ, and returns them.
    pub fn show_difference(&self, place: &Place, old: &Configuration, new: &Configuration) -> String {
        let (old, new) = (old.menu().text(), new.menu().text());
        let difference = similar::TextDiff::from_lines(&old, &new);
        let name = place.to_string();
        let text = difference.unified_diff().context_radius(2).header(&name, &name).to_string();
        for line in text.lines() {
            let tone = match line.as_bytes().first() {
                Some(b'+') => Tone::Good,
                Some(b'-') => Tone::Bad,
                Some(b'@') => Tone::Faint,
                _ => Tone::Plain,
            };
            self.output.say(tone, line.trim_end());
        }
        text
    }
}

/// Returns the default entry, or else the only one that loads Windows.
pub(crate) fn usual(entries: &[Entry]) -> Option<&Entry> {
    let mut windows = entries.iter().filter(|entry| entry.loads == Loads::Windows);
    let default = entries.iter().find(|entry| entry.default && entry.loads == Loads::Windows);
    default.or_else(|| match (windows.next(), windows.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    })
}

/// Returns the boot.ini of the running NT 5.x. It is on the system partition, which need not be that of
/// Windows; NTLDR lies beside it.
fn running_boot_ini() -> Option<PathBuf> {
    if !cfg!(windows) {
        return None;
    }
    boot_ini_of((b'C'..=b'Z').map(|letter| PathBuf::from(format!("{}:\\", char::from(letter)))))
}

/// Returns the boot.ini of the first of these volumes that NTLDR is on.
fn boot_ini_of(mut volumes: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let is_system = |volume: &PathBuf| volume.join("ntldr").is_file() && volume.join("boot.ini").is_file();
    volumes.find(is_system).map(|volume| volume.join("boot.ini"))
}

/// Returns true if two paths name one file of the running NT 5.x, which tells no case apart.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let name = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    name(one).as_os_str().eq_ignore_ascii_case(name(other).as_os_str())
}

/// Returns the running Windows, with the folder for its backups and lock. `restore` imports what lies there, so that it is
/// below a folder that ordinary users may not write.
fn live(bcdedit: Bcdedit) -> Live {
    let windows = std::env::var_os("SystemRoot").map_or_else(|| PathBuf::from("C:\\Windows"), PathBuf::from);
    Live { bcdedit, folder: windows.join("Xenguard") }
}

#[cfg(unix)]
fn same_device(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.dev());
    device(one).is_some() && device(one) == device(other)
}

/// Paths on the same drive.
#[cfg(not(unix))]
fn same_device(one: &Path, other: &Path) -> bool {
    one.components().next() == other.components().next()
}

/// Reads a file that the user named.
///
/// # Errors
/// It cannot be read.
pub fn read_named(file: &Path) -> Result<Vec<u8>> {
    use crate::files::{Disk, Files};
    Disk.read(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{Exit, code};

    const MENU: &str = "[boot loader]\r\ntimeout=30\r\ndefault=multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS\r\n\
        [operating systems]\r\nmulti(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"Server\" /fastdetect\r\n";

    /// Returns a session on a volume with a boot.ini, and its place.
    fn of_volume(root: &Path) -> (Session, Place) {
        let file = root.join("boot.ini");
        std::fs::write(&file, MENU).expect("written");
        let global = Global { root: Some(root.to_owned()), yes: true, ..Global::default() };
        let output = Output::new(&global);
        (Session { global, output }, Place::BootIni(file, None))
    }

    /// Another program may change the menu, or the guest be started, while a question waits for its answer.
    #[test]
    fn what_was_looked_at_before_a_question_is_looked_at_after_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut session, place) = of_volume(folder.path());
        let other = MENU.replace("timeout=30", "timeout=5");
        let hibernated = [b"hibr".as_slice(), &[1; 4096]].concat();
        for (name, content, exit) in
            [("boot.ini", other.as_bytes(), Exit::Busy), ("hiberfil.sys", &hibernated, Exit::Refused)]
        {
            std::fs::write(folder.path().join("boot.ini"), MENU).expect("written");
            let error = session
                .change(&place, Some("Change it?"), |new| {
                    std::fs::write(folder.path().join(name), content).expect("written");
                    new.menu_mut().set_timeout(7)?;
                    Ok((String::new(), json!({})))
                })
                .expect_err("it is another now");
            assert_eq!(code(&error), exit, "{error:#}");
            assert_eq!(std::fs::read(folder.path().join(name)).expect("readable"), content);
            assert!(!std::fs::read_to_string(folder.path().join("boot.ini")).expect("text").contains("=7"));
        }
    }

    /// Windows is on a drive of its own, and another one has a boot.ini that nothing reads.
    #[test]
    fn the_running_boot_ini_is_beside_ntldr() {
        let folder = tempfile::tempdir().expect("a folder");
        let volume = |name: &str, files: &[&str]| {
            let volume = folder.path().join(name);
            std::fs::create_dir(&volume).expect("made");
            for file in files {
                std::fs::write(volume.join(file), "").expect("written");
            }
            volume
        };
        let windows = volume("c", &["boot.ini"]);
        let system = volume("d", &["ntldr", "boot.ini"]);
        let volumes = [folder.path().join("none"), windows.clone(), system.clone()];
        assert_eq!(boot_ini_of(volumes.into_iter()), Some(system.join("boot.ini")));
        assert_eq!(boot_ini_of([windows].into_iter()), None);
        assert!(is_same_file(&system.join("BOOT.INI"), &system.join("boot.ini")));
        assert!(!is_same_file(&system.join("boot.ini.backup1"), &system.join("boot.ini")));
    }
}
