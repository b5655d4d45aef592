//! The proof that every alias is gone: what must have been seen before a PV disk may be exposed.
//!
//! | policy | beside the filter on every root bus, its relations edited, and the unplug brought to an end |
//! |---|---|
//! | `controller` | as many controllers hidden as stand in configuration space |
//! | `disks` | as many disks-only controllers hidden as stand there; the filter on every other one and on each of its channels; every disk that they report taken out, and at least one where unplug did not take them |
//! | `none` | as many controllers refused their start as stand there |

use super::{Bus, Guard, Phase, Unplug};
use crate::{controllers::Present, policy::HidePolicy, reason::Reason};

impl Guard {
    /// Returns the part that the proof still lacks; `None` if it is whole.
    pub(super) fn missing_proof(&self) -> Option<Reason> {
        if self.too_many_buses {
            return Some(Reason::TooManyBuses);
        }
        if self.too_many_devices {
            return Some(Reason::TooManyDevices);
        }
        if self.buses.iter().all(|bus| matches!(bus, Bus::Absent)) {
            return Some(Reason::FilterNotAttached);
        }
        if self.unplug.is_none() {
            return Some(Reason::UnplugUnknown);
        }
        let Some(present) = self.controllers else {
            return Some(Reason::ControllersNotCounted);
        };
        if self.buses.iter().any(|bus| matches!(bus, Bus::Attached)) {
            return Some(Reason::RelationsNotFiltered);
        }
        if self.buses.iter().any(|bus| matches!(bus, Bus::Filtered { seen, hidden } if hidden < seen)) {
            return Some(Reason::AliasSlipped);
        }
        if present.total() == 0 {
            return Some(Reason::NothingToHide);
        }
        match self.policy {
            HidePolicy::Controllers => self.hidden_differs_from(present.total()),
            HidePolicy::Disks => {
                self.hidden_differs_from(present.disks_only).or_else(|| self.disks_not_hidden(present))
            }
            HidePolicy::Nothing => (self.denied() != present.total()).then_some(Reason::StartNotRefused),
        }
    }

    /// Returns true if a request came too early, and would be granted now.
    pub(super) fn may_ask_again(&self) -> bool {
        self.asked_early && self.phase == Phase::Hiding && self.missing_proof().is_none()
    }

    fn hidden_differs_from(&self, count: u32) -> Option<Reason> {
        (self.hidden() != count).then_some(Reason::HiddenMismatch)
    }

    /// Returns the part that is missing below the controllers that stay.
    fn disks_not_hidden(&self, present: Present) -> Option<Reason> {
        if self.devices.any_slipped() {
            return Some(Reason::AliasSlipped);
        }
        if self.devices.filtered_controllers() != present.with_cdrom || !self.devices.all_seen() {
            return Some(Reason::StorageNotFiltered);
        }
        // Disks-only controllers that were hidden are evidence, too. An unplug that was acknowledged has left
        // none.
        let evidence = self.hidden_disks() > 0 || self.hidden() > 0;
        (self.unplug != Some(Unplug::Acknowledged) && !evidence).then_some(Reason::NothingToHide)
    }
}
