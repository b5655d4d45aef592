//! What every command works with: where the boot configuration is, how to speak, and how a change is made.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

use crate::{
    bcd::bcdedit::Bcdedit,
    cli::Global,
    find,
    menu::Configuration,
    output::{Output, Tone},
    place::{Live, Place, Read},
    system::{Hibernation, System},
    told,
};

/// One run of bootcfg.
#[derive(Debug)]
pub struct Session {
    /// What holds for every command.
    pub global: Global,
    /// Speaks to the user.
    pub output: Output,
}

impl Session {
    /// The boot configuration that the command line means.
    ///
    /// # Errors
    /// None is found, or several.
    pub fn place(&self) -> Result<Place> {
        let global = &self.global;
        if let Some(path) = &global.boot_ini {
            return Ok(Place::BootIni(path.clone()));
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
            return find::below(Path::new(&format!("{drive}\\")));
        }
        told!(
            Usage,
            "say which boot configuration: --root DIR where the guest's system volume is mounted, --boot-ini FILE or --store BCD"
        )
    }

    /// The Windows that the boot configuration is of.
    #[must_use]
    pub fn system(&self, place: &Place) -> System {
        if let Some(root) = &self.global.root {
            return System::below(root);
        }
        match place {
            // Both lie at the root of the system volume, or in a folder there.
            Place::BootIni(path) | Place::Store(path) if self.is_offline() => System::beside(path),
            _ => System::running(),
        }
    }

    /// Refuses to write to a volume with a hibernation image, not even its boot files. Where it cannot be
    /// known, it is said.
    ///
    /// # Errors
    /// There is an image.
    pub fn refuse_hibernated(&mut self, place: &Place) -> Result<()> {
        let system = self.system(place);
        if let Hibernation::Unknown(why) = system.hibernation() {
            self.output.warn(format!(
                "whether the guest is hibernated is not known: {why}. If it is, what is written now is lost or destroys its \
                 volume"
            ));
        }
        system.refuse_offline_edit_of_hibernated(self.global.dry_run)
    }

    /// Whether a file would lie on the volume of the boot configuration, or on the one at `--root`.
    #[must_use]
    pub fn is_on_the_volume(&self, place: &Place, file: &Path) -> bool {
        let beside = match place {
            Place::BootIni(path) | Place::Store(path) => Some(path.as_path()),
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

    /// The files were named, so they may be of any machine.
    fn is_offline(&self) -> bool {
        let global = &self.global;
        global.boot_ini.is_some() || global.store.is_some() || global.root.is_some()
    }

    /// Makes a change: shows it, asks where it should, and writes it, with a backup. Returns what `--json`
    /// shows.
    ///
    /// `work` gets the configuration to edit and returns a line for the user and facts for `--json`. It runs
    /// again on what is there once other bootcfgs are locked out.
    ///
    /// # Errors
    /// Of `work`; not confirmed; or the change could not be written.
    pub fn change(
        &mut self,
        place: &Place,
        question: Option<&str>,
        work: impl Fn(&mut Configuration) -> Result<(String, Value)>,
    ) -> Result<Value> {
        let edit = |read: &Read| -> Result<(Configuration, String, Value)> {
            let mut new = read.configuration.clone();
            let (line, facts) = work(&mut new)?;
            Ok((new, line, facts))
        };
        let read = place.read()?;
        let (new, line, mut facts) = edit(&read)?;
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
            facts["dry_run"] = json!(true);
            return Ok(facts);
        }
        if let Some(question) = question {
            self.confirm(question)?;
        }
        let _lock = place.lock()?;
        let read = place.read()?;
        let (new, line, facts) = edit(&read)?;
        let mut facts = facts;
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
            Some(false) => told!(Declined, "nothing was changed"),
            None => told!(Declined, "{question} Confirm with --yes; nothing was changed"),
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

fn live(bcdedit: Bcdedit) -> Live {
    let data = ["ProgramData", "ALLUSERSPROFILE"].iter().find_map(std::env::var_os);
    let folder = data.map_or_else(std::env::temp_dir, PathBuf::from);
    Live { bcdedit, folder: folder.join("Xenguard") }
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
