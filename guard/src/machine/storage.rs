//! Reports of the filter of storage devices: emulated controllers, channels and disks by the number that the
//! filter gave them.

use crate::policy::Emulated;

/// Number of emulated storage devices that the guard tells apart at one time. More than this is a doubt.
pub const MAX_DEVICES: usize = 32;

/// The filter's knowledge of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Device {
    /// Kind of the device.
    pub kind: Emulated,
    /// Its start was refused. NT removes a device whose start failed; the entry of a controller stays then,
    /// since the controller does.
    pub denied: bool,
    /// It was removed, and only the refusal is remembered.
    pub gone: bool,
    /// The children that it last reported; `None` before it did.
    pub children: Option<Children>,
}

/// Children that a controller or a channel reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Children {
    /// Channels, each a device of its own.
    pub channels: u32,
    /// Hard disks.
    pub disks: u32,
    /// Disks among them that were taken out.
    pub hidden: u32,
}

impl Children {
    /// Returns true if a disk was reported and not taken out.
    pub(super) const fn slipped(self) -> bool {
        self.hidden < self.disks
    }
}

/// The devices, by number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Devices([Option<Device>; MAX_DEVICES]);

impl Devices {
    pub(super) const fn new() -> Devices {
        Devices([None; MAX_DEVICES])
    }

    /// Returns the place of a number; `None` for one that is beyond the table.
    pub(super) fn place(&mut self, number: u32) -> Option<&mut Option<Device>> {
        self.0.get_mut(usize::try_from(number).ok()?)
    }

    /// Returns the device with this number.
    pub(super) fn get(&mut self, number: u32) -> Option<&mut Device> {
        self.place(number)?.as_mut().filter(|device| !device.gone)
    }

    /// Takes a device out; whether it was there.
    pub(super) fn remove(&mut self, number: u32) -> bool {
        let Some(place) = self.place(number) else { return false };
        match place {
            Some(device) if device.gone => return false,
            Some(device @ Device { kind: Emulated::Controller(_), denied: true, .. }) => device.gone = true,
            Some(_) => *place = None,
            None => return false,
        }
        true
    }

    /// Returns the devices that are there.
    fn iter(&self) -> impl Iterator<Item = &Device> {
        self.0.iter().flatten().filter(|device| !device.gone)
    }

    /// Returns the number of disks that were taken out, in all.
    pub(super) fn hidden_disks(&self) -> u32 {
        self.iter().filter_map(|device| device.children).fold(0, |sum, c| sum.saturating_add(c.hidden))
    }

    /// Controllers that may carry a CD-ROM and have the filter on them.
    pub(super) fn filtered_controllers(&self) -> u32 {
        self.count(|kind| matches!(kind, Emulated::Controller(c) if c.may_carry_cdrom()))
    }

    /// Controllers whose start was refused, removed since or not.
    pub(super) fn denied_controllers(&self) -> u32 {
        let denied = |d: &&Device| d.denied && matches!(d.kind, Emulated::Controller(_));
        u32::try_from(self.0.iter().flatten().filter(denied).count()).unwrap_or(u32::MAX)
    }

    /// Returns true if a disk was reported and not taken out.
    pub(super) fn any_slipped(&self) -> bool {
        self.iter().filter_map(|device| device.children).any(Children::slipped)
    }

    /// Returns true if the disks of every controller are known to pass the filter: each controller and
    /// channel has said what its children are, and each channel that was reported has the filter on it.
    pub(super) fn all_seen(&self) -> bool {
        let reported =
            self.iter().filter_map(|d| d.children).fold(0u32, |sum, c| sum.saturating_add(c.channels));
        self.iter().all(|device| device.kind == Emulated::Disk || device.children.is_some())
            && reported == self.count(|kind| kind == Emulated::Channel)
    }

    fn count(&self, is: impl Fn(Emulated) -> bool) -> u32 {
        u32::try_from(self.iter().filter(|device| is(device.kind)).count()).unwrap_or(u32::MAX)
    }
}
