//! Edits of a store in memory, and the difference between two stores as single changes.

use anyhow::Result;
use guard::options::BootOptions;

use super::{
    BOOT_MANAGER, Bcd, Guid, OS_LOADER, Object,
    element::{
        self, BOOT_SEQUENCE, DEFAULT, DESCRIPTION, DEVICE, DISPLAY_ORDER, Data, LOAD_OPTIONS, OS_DEVICE,
        PATH, SYSTEM_ROOT, TIMEOUT, WINDOWS_PE,
    },
};
use crate::{
    bail_as,
    menu::{Loads, differing_words, other_words},
};

/// Suffix of the name of a PV entry.
const NAME_SUFFIX: &str = " (PV disks)";
const OPTION: &str = "GPLPV";

/// One difference between two stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new object with all its elements.
    Add(Guid, Object),
    /// An element is set.
    Set(Guid, u32, Data),
    /// An element goes.
    Unset(Guid, u32),
    /// An object goes.
    Delete(Guid),
}

impl Bcd {
    /// Returns the changes that make `new` of this, additions first and deletions last.
    #[must_use]
    pub fn changes_to(&self, new: &Bcd) -> Vec<Change> {
        let mut changes = Vec::new();
        for (&guid, object) in &new.objects {
            let Some(old) = self.objects.get(&guid).filter(|old| old.kind == object.kind) else {
                changes.push(Change::Add(guid, object.clone()));
                continue;
            };
            for (&number, data) in &object.elements {
                if old.elements.get(&number) != Some(data) {
                    changes.push(Change::Set(guid, number, data.clone()));
                }
            }
            let gone = old.elements.keys().filter(|number| !object.elements.contains_key(number));
            changes.extend(gone.map(|&number| Change::Unset(guid, number)));
        }
        let gone = self.objects.keys().filter(|guid| !new.objects.contains_key(guid));
        changes.extend(gone.map(|&guid| Change::Delete(guid)));
        changes.sort_by_key(|change| match change {
            Change::Add(..) => 0,
            Change::Set(..) => 1,
            Change::Unset(..) => 2,
            Change::Delete(_) => 3,
        });
        changes
    }

    /// Returns the entries that can be chosen: those of the menu in its order, whatever they load, then PV
    /// entries and a default that the menu does not show.
    #[must_use]
    pub fn choices(&self) -> Vec<Guid> {
        let exists = |guid: &Guid| self.objects.contains_key(guid);
        let mut choices: Vec<Guid> = Vec::new();
        for guid in self.display_order().into_iter().filter(exists) {
            if !choices.contains(&guid) {
                choices.push(guid);
            }
        }
        let default = self.default_loader();
        let is_hidden = |guid: &Guid| {
            !choices.contains(guid)
                && (default == Some(*guid) || self.is_loader(*guid) && self.options(*guid).selects_pv())
        };
        let hidden: Vec<_> = self.objects.keys().copied().filter(is_hidden).collect();
        choices.extend(hidden);
        choices
    }

    /// Returns the entries that are OS loaders, of Windows or of Windows PE.
    #[must_use]
    pub fn loaders(&self) -> Vec<Guid> {
        self.choices().into_iter().filter(|&guid| self.is_loader(guid)).collect()
    }

    fn is_loader(&self, guid: Guid) -> bool {
        self.objects.get(&guid).is_some_and(|object| object.kind == OS_LOADER)
    }

    /// Returns the kind of system that an entry loads.
    #[must_use]
    pub fn loads(&self, guid: Guid) -> Loads {
        if !self.is_loader(guid) {
            return Loads::Other;
        }
        if self.effective(guid, WINDOWS_PE).is_some_and(Data::is_true) {
            return Loads::Recovery;
        }
        let path = self.effective_text(guid, PATH).map(|path| path.to_ascii_lowercase());
        let is_windows = |path: String| path.ends_with("winload.exe") || path.ends_with("winload.efi");
        if path.is_none_or(is_windows) { Loads::Windows } else { Loads::Other }
    }

    /// Returns the menu.
    #[must_use]
    pub fn display_order(&self) -> Vec<Guid> {
        self.data(BOOT_MANAGER, DISPLAY_ORDER).map(Data::guids).unwrap_or_default()
    }

    /// Returns the entry that boots when nobody chooses.
    #[must_use]
    pub fn default_loader(&self) -> Option<Guid> {
        self.data(BOOT_MANAGER, DEFAULT)?.guids().first().copied()
    }

    /// Returns the boot options of an entry.
    #[must_use]
    pub fn options(&self, guid: Guid) -> BootOptions {
        BootOptions::parse(self.effective_text(guid, LOAD_OPTIONS).unwrap_or_default().encode_utf16())
    }

    /// Returns the entry that loads the same system as `guid`, with PV disks or without: of several the one
    /// that is most like it, and of several such the nearest in the menu, so that a PV entry leads back to
    /// the entry that it was made from.
    #[must_use]
    pub fn sibling(&self, guid: Guid, pv: bool) -> Option<Guid> {
        let is_sibling = |other: &Guid| {
            self.options(*other).selects_pv() == pv
                && self.loads(*other) == Loads::Windows
                && self.same_system(guid, *other)
        };
        let choices = self.choices();
        let place = |guid: Guid| choices.iter().position(|&other| other == guid).unwrap_or(choices.len());
        let own = place(guid);
        let key = |&&other: &&Guid| (self.differences(guid, other), place(other).abs_diff(own));
        choices.iter().filter(|other| is_sibling(other)).min_by_key(key).copied()
    }

    /// Both boot the same system with PV disks.
    pub(super) fn are_twins(&self, one: Guid, other: Guid) -> bool {
        [one, other].iter().all(|&guid| self.loads(guid) == Loads::Windows && self.options(guid).selects_pv())
            && self.same_system(one, other)
    }

    /// Returns the number of elements and words of the options that differ, but for what makes a PV entry.
    fn differences(&self, one: Guid, other: Guid) -> usize {
        let essence = |guid: Guid| {
            let elements = self.objects.get(&guid).map(|object| object.elements.clone()).unwrap_or_default();
            let own = |(number, _): &(u32, Data)| ![DESCRIPTION, LOAD_OPTIONS].contains(number);
            elements.into_iter().filter(own).collect::<Vec<_>>()
        };
        let (ours, theirs) = (essence(one), essence(other));
        let missing = |from: &[(u32, Data)], of: &[(u32, Data)]| {
            from.iter().filter(|element| !of.contains(element)).count()
        };
        let words = |guid| other_words(&self.effective_text(guid, LOAD_OPTIONS).unwrap_or_default());
        missing(&ours, &theirs) + missing(&theirs, &ours) + differing_words(&words(one), &words(other))
    }

    /// Both load the same Windows from the same device.
    fn same_system(&self, one: Guid, other: Guid) -> bool {
        let device = |guid, number| self.data(guid, number);
        let path = |guid, number| self.effective_text(guid, number).map(|path| path.to_lowercase());
        [DEVICE, OS_DEVICE].iter().all(|&number| device(one, number) == device(other, number))
            && [PATH, SYSTEM_ROOT].iter().all(|&number| path(one, number) == path(other, number))
    }

    /// Adds a PV entry made from `source`, behind it in the menu; returns its identifier. A source that the menu
    /// does not show is shown from then on.
    ///
    /// # Errors
    /// The source selects or refuses PV, or a PV entry of its system is there already.
    pub fn add_pv_entry(&mut self, source: Guid, name: Option<&str>) -> Result<Guid> {
        let Some(object) = self.objects.get(&source) else {
            bail_as!(Refused, "there is no entry {}", source.named())
        };
        match self.loads(source) {
            Loads::Windows => {}
            Loads::Recovery => {
                bail_as!(
                    Refused,
                    "the entry loads Windows PE (recovery or setup), which has no PV drivers; choose another"
                )
            }
            Loads::Other => bail_as!(Refused, "the entry does not load Windows; choose another by --entry"),
        }
        let options = self.options(source);
        if options.selects_pv() {
            bail_as!(Refused, "the entry boots with PV disks already; choose an emulated one");
        }
        if options.vetoes_pv() {
            bail_as!(
                Refused,
                "the entry has NOGPLPV among its options, which wins over GPLPV; remove it first"
            );
        }
        if self.sibling(source, true).is_some() {
            bail_as!(Refused, "the same system has a PV entry already");
        }
        let name = match name {
            Some(name) if name.contains('\0') || name.trim().is_empty() => {
                bail_as!(Refused, "a name must have text")
            }
            Some(name) => name.to_owned(),
            None => {
                self.effective_text(source, DESCRIPTION).unwrap_or_else(|| "Windows".to_owned()) + NAME_SUFFIX
            }
        };
        let load_options = match self.effective_text(source, LOAD_OPTIONS) {
            Some(old) if !old.trim().is_empty() => format!("{} {OPTION}", old.trim_end()),
            _ => OPTION.to_owned(),
        };
        let mut object = object.clone();
        object.elements.insert(DESCRIPTION, Data::of_text(&name));
        object.elements.insert(LOAD_OPTIONS, Data::of_text(&load_options));
        let guid = Guid::random();
        self.objects.insert(guid, object);

        let mut order = self.display_order();
        // A menu of the PV entry alone would have no way back.
        let place = order.iter().position(|&entry| entry == source).unwrap_or_else(|| {
            order.push(source);
            order.len() - 1
        });
        order.insert(place + 1, guid);
        self.set(DISPLAY_ORDER, Data::of_guids(&order));
        Ok(guid)
    }

    /// Removes a PV entry, from every list of the boot manager too.
    ///
    /// # Errors
    /// It is no PV entry, or the only entry of its system.
    pub fn remove_pv_entry(&mut self, guid: Guid) -> Result<()> {
        if !self.options(guid).selects_pv() {
            bail_as!(Refused, "{} is not a PV entry; only those are removed here", self.called(guid));
        }
        let Some(sibling) = self.sibling(guid, false) else {
            bail_as!(
                Refused,
                "{} is the only one for its system; without it that system does not boot. Take GPLPV out of its \
                 loadoptions instead",
                self.called(guid)
            )
        };
        if self.default_loader() == Some(guid) {
            self.set(DEFAULT, Data::of_guid(sibling));
        }
        for list in [DISPLAY_ORDER, BOOT_SEQUENCE] {
            let Some(old) = self.data(BOOT_MANAGER, list).map(Data::guids) else { continue };
            let new: Vec<_> = old.iter().copied().filter(|&entry| entry != guid).collect();
            if new == old {
                continue;
            }
            if new.is_empty() && list == BOOT_SEQUENCE {
                self.boot_manager().elements.remove(&list);
            } else {
                self.set(list, Data::of_guids(&new));
            }
        }
        self.objects.remove(&guid);
        Ok(())
    }

    /// Makes an entry the default.
    pub fn set_default_loader(&mut self, guid: Guid) {
        if self.default_loader() != Some(guid) {
            self.set(DEFAULT, Data::of_guid(guid));
        }
    }

    /// Has the entry boot the next time only.
    pub fn set_boot_sequence(&mut self, guid: Guid) {
        self.set(BOOT_SEQUENCE, Data::of_guids(&[guid]));
    }

    /// Sets how many seconds the menu waits.
    pub fn set_menu_timeout(&mut self, seconds: u32) {
        if self.data(BOOT_MANAGER, TIMEOUT).and_then(Data::integer) != Some(seconds.into()) {
            self.set(TIMEOUT, Data::of_integer(seconds.into()));
        }
    }

    /// Objects that are referred to and are not there.
    #[must_use]
    pub fn dangling(&self) -> Vec<(Guid, u32, Guid)> {
        let lists = [DEFAULT, DISPLAY_ORDER, BOOT_SEQUENCE].map(|list| (BOOT_MANAGER, list));
        let resumes = self.loaders().into_iter().map(|guid| (guid, element::RESUME_OBJECT));
        let references = lists.into_iter().chain(resumes).flat_map(|(guid, number)| {
            let to = self.data(guid, number).map(Data::guids).unwrap_or_default();
            to.into_iter().map(move |to| (guid, number, to))
        });
        references.filter(|(_, _, to)| !self.objects.contains_key(to)).collect()
    }

    fn set(&mut self, number: u32, data: Data) {
        self.boot_manager().elements.insert(number, data);
    }

    fn boot_manager(&mut self) -> &mut Object {
        // A store without one is not read.
        self.objects.entry(BOOT_MANAGER).or_default()
    }
}
