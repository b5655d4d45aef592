//! `install`: the drivers in, the PV entry added, the default as it was.

use anyhow::{Context, Result};
use hive::Hive;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

use super::{Outcome, add};
use crate::{
    bail_as,
    exit::Exit,
    files::{Disk, Files},
    guest_files,
    hive_edit::{Edit, edit_copy},
    hive_file::HiveFile,
    install::{
        edits::{self, Edits},
        live,
        offline::Target,
        package::{DRIVERS, Package},
        service,
    },
    lock::Lock,
    menu::{Entry, Loads},
    named::Named,
    output::Tone,
    place::Place,
    session::{self, Session},
    system::System,
};

/// The boot entry that is made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    /// None.
    None,
    /// One made from the entry of this number, or from the default one.
    Of(Option<usize>),
}

impl Which {
    const fn number(self) -> Option<usize> {
        match self {
            Which::Of(number) => number,
            Which::None => None,
        }
    }
}

pub(super) fn run(
    session: &mut Session,
    package: Option<&Path>,
    named: Option<&Named>,
    no_entry: bool,
) -> Outcome {
    let folder = package.map_or_else(own_folder, |path| Ok(path.to_owned()))?;
    let package = Package::read(&Disk, &folder)?;
    // Found before anything is changed.
    let place = match session.place() {
        Ok(place) => Some(place),
        Err(_) if no_entry => None,
        Err(error) => return Err(error),
    };
    let which = match &place {
        Some(place) if !no_entry => Which::Of(session.number_of(place, named)?),
        _ => Which::None,
    };
    let entries = match &place {
        Some(place) => Some(place.read()?.configuration.menu().entries()),
        None => None,
    };
    if let (Some(place), Which::Of(number)) = (&place, which) {
        // A menu that takes no further entry is told before the drivers are in.
        let mut tried = place.read()?.configuration;
        add::made(tried.menu_mut(), number, None)?;
    }
    let Some(root) = session.global.root.clone() else {
        return run_live(session, &folder, &package, which, place.as_ref(), entries.as_deref());
    };
    let entry = match (&entries, which.number()) {
        (Some(entries), Some(number)) => entries.iter().find(|entry| entry.number == number),
        (Some(entries), None) => session::usual(entries),
        (None, _) => None,
    };
    let windows =
        Offline::below(&root, &session.folder_of(&root, entries.as_deref().unwrap_or_default(), entry)?)?;
    let system = System::below(&root, Ok(&windows.folder))
        .with_menu(place.as_ref().map(|place| !matches!(place, Place::BootIni(..))));
    session.refuse_hibernated_system(&system)?;
    if let Some(line) = windows.content.replay_note(&windows.hive) {
        session.output.warn(line);
    }
    let mut edits = edits::install(&windows.parsed()?, &package)?;
    system.refuse_unfit(package.signature(), entries.as_deref())?;
    edits.warnings.extend(edits::refuse_namesakes(system.registry())?);
    for edit in system.preparations()? {
        if !edits.edits.contains(&edit) {
            edits.edits.push(edit);
        }
    }
    for warning in &edits.warnings {
        session.output.warn(warning.clone());
    }
    let service = package.service.as_ref().map(|_| service::FILE);
    let files: Vec<_> = package.files.keys().map(String::as_str).chain(service).collect();
    let mut facts = json!({ "version": package.version, "files": files, "edits": edits.edits.len() });
    if session.global.dry_run {
        for name in package.files.keys() {
            session.output.say(Tone::Plain, &format!("would write {}", windows.drivers.join(name).display()));
        }
        if let (Some(_), Some(path)) = (&package.service, service::file_beside(&windows.drivers)) {
            session.output.say(Tone::Plain, &format!("would write {}", path.display()));
        }
        show(session, &edits);
        if let Which::Of(number) = which {
            facts["entry"] = add::of_number(session, number, None)?.1["entry"].take();
        }
        return Ok((Exit::Done, facts));
    }
    let lock = Lock::take(&windows.hive)?;
    let mut added = Value::Null;
    let before = place.as_ref().map(Place::raw).transpose()?;
    let add = || {
        // `add` may edit the hive too.
        drop(lock);
        if let Which::Of(number) = which {
            added = add::of_number(session, number, None)?.1;
        }
        Ok(())
    };
    let take_back = || match (&place, &before) {
        (Some(place), Some(before)) => place.put_back(before),
        _ => Ok(()),
    };
    let written = windows.target().install(&package, &edits, add, take_back)?;
    facts["entry"] = added["entry"].take();
    facts["backup"] = json!(written.kept.as_ref().map(|path| path.display().to_string()));
    facts["changed"] = json!(written.kept.is_some() || written.files || added["changed"] == true);
    session.output.say(Tone::Good, &installed(&package, entries.as_deref()));
    if let Some(kept) = written.kept {
        session.output.kept("The old SYSTEM hive", &kept);
    }
    Ok((Exit::Done, facts))
}

/// Returns the line that ends an installation.
fn installed(package: &Package, entries: Option<&[Entry]>) -> String {
    let default = entries.and_then(|entries| entries.iter().find(|entry| entry.default));
    let boots = match default {
        Some(entry) if entry.pv => "the default entry is as it was, the PV entry",
        Some(entry) if entry.loads == Loads::Windows => "the default entry is as it was, and boots emulated",
        _ => "the default entry is as it was",
    };
    format!("Xenguard {} is installed; {boots}", package.version)
}

fn run_live(
    session: &mut Session,
    folder: &Path,
    package: &Package,
    which: Which,
    place: Option<&Place>,
    entries: Option<&[Entry]>,
) -> Outcome {
    let commands = live::Commands::of_system(session)?;
    let folder = Disk.resolve(folder).with_context(|| format!("cannot find {}", folder.display()))?;
    // As offline: what the guide promises holds for both.
    let system = System::running(session.global.registry.as_deref())
        .with_menu(place.map(|place| !matches!(place, Place::BootIni(..))));
    system.refuse_unfit(package.signature(), entries)?;
    for warning in edits::refuse_namesakes(system.registry())? {
        session.output.warn(warning);
    }
    if session.global.dry_run {
        for line in commands.install_lines(&folder)? {
            session.output.say(Tone::Plain, &format!("would run {line}"));
        }
        let mut facts = json!({ "version": package.version });
        if let Which::Of(number) = which {
            facts["entry"] = add::of_number(session, number, None)?.1["entry"].take();
        }
        return Ok((Exit::Done, facts));
    }
    let mut entry = Value::Null;
    let before = place.map(Place::raw).transpose()?;
    let add = || {
        system.prepare(&mut session.output, session.global.dry_run)?;
        if let Which::Of(number) = which {
            entry = add::of_number(session, number, None)?.1["entry"].take();
        }
        Ok(())
    };
    let take_back = || match (place, &before) {
        (Some(place), Some(before)) => place.put_back(before),
        _ => Ok(()),
    };
    let live::Installed { restart, notes } = commands.install(&folder, add, take_back)?;
    for note in notes {
        session.output.warn(note);
    }
    session.output.say(Tone::Good, &installed(package, entries));
    if restart {
        session.output.say(
            Tone::Plain,
            "Files that are in use are replaced at the next start: restart once before a PV boot",
        );
    }
    let facts = json!({ "changed": true, "version": package.version, "entry": entry, "restart": restart });
    Ok((Exit::Done, facts))
}

/// Lists the edits.
pub(super) fn show(session: &Session, edits: &Edits) {
    for edit in &edits.edits {
        let line = match edit {
            Edit::Set { key, name, .. } => format!("would set {key}\\{name}"),
            Edit::DeleteValues { key, names } => format!("would remove {} from {key}", names.join(", ")),
            Edit::DeleteKey { key } => format!("would remove {key}"),
        };
        session.output.say(Tone::Plain, &line);
    }
}

/// Returns the folder that this program lies in, as it does in the package.
fn own_folder() -> Result<PathBuf> {
    let program = std::env::current_exe().context("this program's own folder is not known; say --package")?;
    program.parent().map(Path::to_owned).context("this program is in no folder; say --package")
}

/// A Windows on a mounted volume.
pub(super) struct Offline {
    /// The folder of Windows, with slashes.
    pub folder: String,
    pub drivers: PathBuf,
    pub hive: PathBuf,
    pub content: HiveFile,
}

impl Offline {
    /// Returns the Windows in a folder of the volume.
    ///
    /// # Errors
    /// It has no hive or no folder of drivers, or one of them leads out of the volume.
    pub(super) fn below(root: &Path, folder: &str) -> Result<Offline> {
        let Some(hive) = guest_files::file(root, &format!("{folder}/{}", guest_files::HIVE))? else {
            bail_as!(
                Unusable,
                "{} has no {folder}/{}: is it the volume that Windows is on?",
                root.display(),
                guest_files::HIVE
            )
        };
        let system32 = hive.parent().and_then(Path::parent).context("a hive in no folder")?;
        let Some(drivers) = guest_files::folder(system32, "drivers")? else {
            bail_as!(Unusable, "{} has no folder drivers", system32.display())
        };
        guest_files::inside(root, &drivers)?;
        for name in DRIVERS.map(|name| format!("{name}.sys")) {
            // A link in the place of a driver would be read, though not written through.
            guest_files::file(root, &format!("{folder}/System32/drivers/{name}"))?;
        }
        let content = HiveFile::read(&Disk, &hive)?;
        guest_files::inside(root, system32)?;
        guest_files::file(root, &format!("{folder}/System32/{}", service::FILE))?;
        Ok(Offline { folder: folder.to_owned(), drivers, hive, content })
    }

    /// Returns the path of the service's file, where there is one.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn service(&self) -> Result<Option<PathBuf>> {
        match self.drivers.parent() {
            Some(system32) => guest_files::file(system32, service::FILE),
            None => Ok(None),
        }
    }

    /// Returns the SYSTEM hive.
    ///
    /// # Errors
    /// It is damaged; the message names the file.
    pub(super) fn parsed(&self) -> Result<Hive<'_>> {
        Hive::new(&self.content.content).with_context(|| self.hive.display().to_string())
    }

    pub(super) fn target(&self) -> Target<'_> {
        Target {
            files: &Disk,
            edit: &edit_copy,
            drivers: &self.drivers,
            hive: &self.hive,
            content: &self.content,
        }
    }
}
