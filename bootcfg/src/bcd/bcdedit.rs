//! Writing through bcdedit: the store of the running Windows, or on Windows a copy of a store.
//!
//! What bcdedit prints is in the language of the system and is never parsed. What it did is seen by reading,
//! with our own reader, what `/export` writes.

use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    BOOT_MANAGER, Bcd, Change, Guid, Object,
    element::{
        BOOT_SEQUENCE, DEFAULT, DESCRIPTION, DEVICE, DISPLAY_ORDER, Data, LOAD_OPTIONS, OS_DEVICE, PATH,
        SYSTEM_ROOT, TIMEOUT,
    },
};
use crate::{bail_as, files::Disk, hive_file::HiveFile, scratch::Scratch};

/// bcdedit, and the store that it works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bcdedit {
    program: PathBuf,
    /// A store that no Windows is using; `None` is that of the running one.
    store: Option<PathBuf>,
}

impl Bcdedit {
    /// Returns the bcdedit of the running Windows.
    #[must_use]
    pub fn of_system() -> Bcdedit {
        let windows = std::env::var_os("SystemRoot").unwrap_or_else(|| "C:\\Windows".into());
        Bcdedit::at(Path::new(&windows).join("System32").join("bcdedit.exe"))
    }

    /// Another program that is called like it.
    #[must_use]
    pub const fn at(program: PathBuf) -> Bcdedit {
        Bcdedit { program, store: None }
    }

    /// It is there.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.program.is_file()
    }

    /// Returns the store of the running Windows as a hive file's bytes. bcdedit exports no other: "/export is
    /// valid only for the system store" (Microsoft's reference).
    ///
    /// # Errors
    /// bcdedit failed, or wrote no file.
    pub fn export(&self) -> Result<Vec<u8>> {
        let scratch = Scratch::new()?;
        let file = scratch.path().join("export");
        self.run(&["/export".to_owned(), argument(&file)?])?;
        std::fs::read(&file).context("bcdedit /export wrote no file")
    }

    /// Returns the entry that the running Windows was booted by. Of what bcdedit prints only an identifier is
    /// read, which has no language: the first line below the heading's hyphens ends with that of the entry
    /// (`/v`: none is shown by an alias).
    ///
    /// # Errors
    /// bcdedit failed, or named none.
    pub fn current(&self) -> Result<Guid> {
        let said = self.output(&["/enum".to_owned(), "{current}".to_owned(), "/v".to_owned()])?;
        let said = String::from_utf8_lossy(&said).into_owned();
        let is_ruler = |line: &&str| line.len() > 3 && line.trim_end().bytes().all(|byte| byte == b'-');
        let first = said.lines().skip_while(|line| !is_ruler(line)).nth(1);
        match first.and_then(|line| line.split_whitespace().last()).and_then(Guid::parse) {
            Some(guid) => Ok(guid),
            None => bail_as!(
                Tool,
                "bcdedit does not say by which entry this Windows was booted; name it by its number"
            ),
        }
    }

    /// Replaces the whole store by an exported one.
    ///
    /// # Errors
    /// bcdedit failed.
    pub fn import(&self, file: &Path) -> Result<()> {
        self.run(&["/import".to_owned(), argument(file)?])
    }

    /// Makes `new` of a store that is `old`. The identifiers of new entries are bcdedit's.
    ///
    /// # Errors
    /// A call failed, or the store is not what it should be then; what was done is undone, and the message
    /// says whether that succeeded.
    pub fn change(&self, old: &Bcd, new: &Bcd) -> Result<()> {
        let Err(error) = self.attempt(old, new) else { return Ok(()) };
        let undone = self.read().and_then(|now| if now == *old { Ok(()) } else { self.attempt(&now, old) });
        Err(match undone {
            Ok(()) => error.context("the store is as it was"),
            Err(undoing) => error.context(format!(
                "the store may be half changed, and undoing it failed ({undoing:#}); import the backup: bcdedit /import"
            )),
        })
    }

    /// Returns the bytes of a store with changes, made by bcdedit on a copy.
    ///
    /// # Errors
    /// As [`Bcdedit::change`]; the copy is all that was touched.
    pub fn edited(&self, bytes: &[u8], old: &Bcd, new: &Bcd) -> Result<Vec<u8>> {
        let scratch = Scratch::new()?;
        let file = scratch.path().join("store");
        std::fs::write(&file, bytes).context("cannot write a copy of the store")?;
        let on_copy = Bcdedit { program: self.program.clone(), store: Some(file.clone()) };
        on_copy.attempt(old, new)?;
        Ok(HiveFile::read(&Disk, on_copy.store.as_deref().unwrap_or(&file))?.content)
    }

    fn read(&self) -> Result<Bcd> {
        match &self.store {
            Some(store) => Bcd::read(&HiveFile::read(&Disk, store)?.content).context("what bcdedit wrote"),
            None => Bcd::read(&self.export()?).context("what bcdedit exported"),
        }
    }

    fn attempt(&self, old: &Bcd, new: &Bcd) -> Result<()> {
        let mut expected = new.clone();
        let mut now = old.clone();
        for (&planned, object) in new.objects.iter().filter(|(guid, _)| !old.objects.contains_key(guid)) {
            let Some(source) = source_of(old, object) else {
                bail_as!(
                    Tool,
                    "{} is a copy of no entry, and bcdedit cannot make its devices",
                    new.called(planned)
                )
            };
            let name = object.elements.get(&DESCRIPTION).and_then(Data::text).unwrap_or_default();
            self.run(&["/copy".into(), source.to_string(), "/d".into(), name])?;
            let copied = self.read()?;
            let is_new =
                |(guid, made): &(&Guid, &Object)| !now.objects.contains_key(guid) && made.kind == object.kind;
            let Some((&actual, _)) = copied.objects.iter().find(is_new) else {
                bail_as!(
                    Tool,
                    "bcdedit /copy of {} reported success, but the store has no new entry",
                    old.called(source)
                )
            };
            expected.rename(planned, actual);
            now = copied;
        }
        for change in now.changes_to(&expected) {
            if let Some(arguments) = command(&change) {
                self.run(&arguments)?;
            }
        }
        match difference(&self.read()?, &expected) {
            None => Ok(()),
            Some(what) => bail_as!(Tool, "bcdedit reported success, but {what}"),
        }
    }

    fn run(&self, arguments: &[String]) -> Result<()> {
        self.output(arguments).map(drop)
    }

    /// Runs it, and returns what it printed.
    fn output(&self, arguments: &[String]) -> Result<Vec<u8>> {
        let mut command = Command::new(&self.program);
        if let Some(store) = &self.store {
            command.arg("/store").arg(store);
        }
        let output = command.args(arguments).stdin(Stdio::null()).output().with_context(|| {
            format!("{} does not start; are you in Windows, and an administrator?", self.program.display())
        })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = [output.stdout, output.stderr].concat();
        bail_as!(
            Tool,
            "bcdedit {} failed ({}); it must be run as an administrator. It said: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" ")
        )
    }
}

/// Returns the entry that `object` is a copy of: all but its name and options are equal.
fn source_of(old: &Bcd, object: &Object) -> Option<Guid> {
    let essence = |object: &Object| {
        let mut object = object.clone();
        object.elements.retain(|number, _| ![DESCRIPTION, LOAD_OPTIONS].contains(number));
        object
    };
    let wanted = essence(object);
    old.objects.iter().find(|(_, other)| essence(other) == wanted).map(|(&guid, _)| guid)
}

/// Returns the call that makes one change; `None` for what bcdedit settles by itself or what is not ours to
/// change.
fn command(change: &Change) -> Option<Vec<String>> {
    let call = |words: &[&str], more: Vec<String>| {
        Some(words.iter().map(|&word| word.to_owned()).chain(more).collect())
    };
    let guids = |data: &Data| data.guids().iter().map(Guid::to_string).collect::<Vec<_>>();
    match change {
        Change::Delete(guid) => call(&["/delete"], vec![guid.to_string()]),
        Change::Set(guid, LOAD_OPTIONS, data) => {
            call(&["/set", &guid.to_string(), "loadoptions"], vec![data.text().unwrap_or_default()])
        }
        Change::Set(guid, DESCRIPTION, data) => {
            call(&["/set", &guid.to_string(), "description"], vec![data.text().unwrap_or_default()])
        }
        Change::Unset(guid, LOAD_OPTIONS) => {
            call(&["/deletevalue", &guid.to_string(), "loadoptions"], vec![])
        }
        &Change::Set(BOOT_MANAGER, number, ref data) => match number {
            DEFAULT => call(&["/default"], guids(data)),
            DISPLAY_ORDER => call(&["/displayorder"], guids(data)),
            BOOT_SEQUENCE => call(&["/bootsequence"], guids(data)),
            TIMEOUT => call(&["/timeout"], vec![data.integer().unwrap_or_default().to_string()]),
            _ => None,
        },
        &Change::Unset(BOOT_MANAGER, number) => {
            let name = match number {
                DEFAULT => "default",
                DISPLAY_ORDER => "displayorder",
                BOOT_SEQUENCE => "bootsequence",
                TIMEOUT => "timeout",
                _ => return None,
            };
            call(&["/deletevalue", "{bootmgr}", name], vec![])
        }
        _ => None,
    }
}

/// Returns the first difference of importance. bcdedit may keep house in other elements; that is its affair.
fn difference(actual: &Bcd, expected: &Bcd) -> Option<String> {
    const OF_ENTRIES: [u32; 6] = [DEVICE, OS_DEVICE, PATH, SYSTEM_ROOT, LOAD_OPTIONS, DESCRIPTION];
    const OF_MENU: [u32; 4] = [DEFAULT, DISPLAY_ORDER, BOOT_SEQUENCE, TIMEOUT];
    if let Some(guid) = expected.objects.keys().find(|guid| !actual.objects.contains_key(guid)) {
        return Some(format!("{} is missing", expected.called(*guid)));
    }
    if let Some(guid) = actual.objects.keys().find(|guid| !expected.objects.contains_key(guid)) {
        return Some(format!("{} should not be there", actual.called(*guid)));
    }
    let of_entries = expected.loaders().into_iter().flat_map(|guid| OF_ENTRIES.map(|number| (guid, number)));
    let of_menu = OF_MENU.map(|number| (BOOT_MANAGER, number));
    let differs = |&(guid, number): &(Guid, u32)| actual.data(guid, number) != expected.data(guid, number);
    let (guid, number) = of_entries.chain(of_menu).find(differs)?;
    let kind = expected.objects.get(&guid).map_or(0, |object| object.kind);
    let name = super::element::name(kind, number);
    Some(format!("{name} of {} is not as it should be", expected.called(guid)))
}

impl Bcd {
    /// Gives an entry another identifier, in the menu too.
    fn rename(&mut self, from: Guid, to: Guid) {
        if let Some(object) = self.objects.remove(&from) {
            self.objects.insert(to, object);
        }
        for number in [DEFAULT, DISPLAY_ORDER, BOOT_SEQUENCE] {
            let Some(old) =
                self.data(BOOT_MANAGER, number).map(Data::guids).filter(|old| old.contains(&from))
            else {
                continue;
            };
            let new: Vec<_> = old.into_iter().map(|guid| if guid == from { to } else { guid }).collect();
            let data = if number == DEFAULT { Data::of_guid(to) } else { Data::of_guids(&new) };
            self.objects.entry(BOOT_MANAGER).or_default().elements.insert(number, data);
        }
    }
}

fn argument(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{} is not Unicode", path.display()))
}
