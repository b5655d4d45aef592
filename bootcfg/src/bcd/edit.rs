//! Edits of a store in memory, and the difference between two stores as single changes.

use anyhow::Result;
use guard::options::BootOptions;

use super::{
    BOOT_MANAGER, Bcd, Guid, OS_LOADER, Object,
    element::{
        self, BOOT_SEQUENCE, DEFAULT, DESCRIPTION, DEVICE, DISPLAY_ORDER, Data, LOAD_OPTIONS, OS_DEVICE,
        PATH, SYSTEM_ROOT, TIMEOUT,
    },
};
use crate::told;

/// What is added to the name of a PV entry.
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
    /// What must be done to make `new` of this, additions first and deletions last.
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

    /// The entries that load Windows: those of the menu in its order, then PV entries that the menu does not
    /// show.
    #[must_use]
    pub fn loaders(&self) -> Vec<Guid> {
        let is_loader = |guid: &Guid| self.objects.get(guid).is_some_and(|object| object.kind == OS_LOADER);
        let mut loaders: Vec<_> = self.display_order().into_iter().filter(is_loader).collect();
        for &guid in self.objects.keys().filter(|guid| is_loader(guid)) {
            if !loaders.contains(&guid)
                && (self.options(guid).selects_pv() || self.default_loader() == Some(guid))
            {
                loaders.push(guid);
            }
        }
        loaders
    }

    /// The menu.
    #[must_use]
    pub fn display_order(&self) -> Vec<Guid> {
        self.data(BOOT_MANAGER, DISPLAY_ORDER).map(Data::guids).unwrap_or_default()
    }

    /// The entry that boots when nobody chooses.
    #[must_use]
    pub fn default_loader(&self) -> Option<Guid> {
        self.data(BOOT_MANAGER, DEFAULT)?.guids().first().copied()
    }

    /// What the entry's options ask for.
    #[must_use]
    pub fn options(&self, guid: Guid) -> BootOptions {
        BootOptions::parse(self.effective_text(guid, LOAD_OPTIONS).unwrap_or_default().encode_utf16())
    }

    /// The first entry that loads the same system as `guid`, with PV disks or without.
    #[must_use]
    pub fn sibling(&self, guid: Guid, pv: bool) -> Option<Guid> {
        self.loaders()
            .into_iter()
            .find(|&other| self.options(other).selects_pv() == pv && self.same_system(guid, other))
    }

    /// Both load the same Windows from the same device.
    fn same_system(&self, one: Guid, other: Guid) -> bool {
        let device = |guid, number| self.data(guid, number);
        let path = |guid, number| self.effective_text(guid, number).map(|path| path.to_lowercase());
        [DEVICE, OS_DEVICE].iter().all(|&number| device(one, number) == device(other, number))
            && [PATH, SYSTEM_ROOT].iter().all(|&number| path(one, number) == path(other, number))
    }

    /// Adds a PV entry made from `source`, behind it in the menu; returns its identifier.
    ///
    /// # Errors
    /// The source selects or refuses PV, or a PV entry of its system is there already.
    pub fn add_pv_entry(&mut self, source: Guid, name: Option<&str>) -> Result<Guid> {
        let Some(object) = self.objects.get(&source) else { told!(Refused, "there is no entry {source}") };
        let options = self.options(source);
        if options.selects_pv() {
            told!(Refused, "the entry boots with PV disks already; choose an emulated one");
        }
        if options.vetoes_pv() {
            told!(Refused, "the entry has NOGPLPV among its options, which wins over GPLPV; remove it first");
        }
        if self.sibling(source, true).is_some() {
            told!(Refused, "the same system has a PV entry already");
        }
        let name = match name {
            Some(name) if name.contains('\0') || name.trim().is_empty() => {
                told!(Refused, "a name must have text")
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
        let place = order.iter().position(|&entry| entry == source).map_or(order.len(), |at| at + 1);
        order.insert(place, guid);
        self.set(DISPLAY_ORDER, Data::of_guids(&order));
        Ok(guid)
    }

    /// Removes a PV entry, from every list of the boot manager too.
    ///
    /// # Errors
    /// It is no PV entry, or the only entry of its system.
    pub fn remove_pv_entry(&mut self, guid: Guid) -> Result<()> {
        if !self.options(guid).selects_pv() {
            told!(Refused, "the entry {guid} is not a PV entry; only those are removed here");
        }
        let Some(sibling) = self.sibling(guid, false) else {
            told!(
                Refused,
                "the entry {guid} is the only one for its system; without it that system does not boot. \
                 Take GPLPV out of its loadoptions instead"
            )
        };
        if self.default_loader() == Some(guid) {
            self.set(DEFAULT, Data::of_guid(sibling));
        }
        for list in [DISPLAY_ORDER, BOOT_SEQUENCE] {
            let Some(old) = self.data(BOOT_MANAGER, list).map(Data::guids) else { continue };
            let new: Vec<_> = old.iter().copied().filter(|&entry| entry != guid).collect();
            if new.is_empty() && list == BOOT_SEQUENCE {
                self.boot_manager().elements.remove(&list);
            } else if new != old {
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

    /// The entry boots the next time only.
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
