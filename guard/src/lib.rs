//! The storage guard: what keeps a Windows guest under Xen from mounting one backing disk twice.
//!
//! This crate is the logic only. It knows nothing of Windows or of Xen's ABI: drivers feed it facts and carry
//! out its answers, so that everything that matters is tested on any host.
//!
//! One boot goes through these stations:
//!
//! 1. [`decision::decide`] turns the immutable inputs of the boot into a [`decision::Decision`].
//! 2. [`machine::Guard`] is sealed with it. From then on every driver feeds it [`machine::Event`]s and obeys
//!    the [`machine::Action`] that comes back.
//! 3. [`census::take`] classifies the disks of the system; the machine judges the counts.
//!
//! The machine's rule of thumb: a doubt before PV disks are exposed ends in the emulated boot, a breach
//! afterwards ends in a stop. There is no third outcome.
//!
//! Nothing here allocates, blocks or panics; every function may run at any IRQL.
//!
//! Begin with [`machine`], whose picture has every phase of a boot, and with [`reason`], which has every reason.
//!
//! ```
//! use guard::{Action, Event, Guard, controllers::Present, decision::Decision, machine::Unplug, policy::HidePolicy};
//!
//! let mut guard = Guard::new();
//! assert_eq!(guard.step(Event::Decided(Decision::Pv(HidePolicy::Controllers))), Action::Nothing);
//! // xenpci asks, and nothing is proved yet.
//! assert!(matches!(guard.step(Event::ExposureRequested), Action::Withhold(_)));
//!
//! assert_eq!(guard.step(Event::BusAttached { bus: 0 }), Action::Unplug);
//! let _ = guard.step(Event::Unplugged(Unplug::Acknowledged));
//! let _ = guard.step(Event::ControllersCounted(Present { with_cdrom: 1, disks_only: 0 }));
//! // The one controller was reported and hidden: the proof is whole, and whoever asked is to ask again.
//! assert_eq!(guard.step(Event::Relations { bus: 0, seen: 1, hidden: 1 }), Action::AskAgain);
//! assert_eq!(guard.step(Event::ExposureRequested), Action::Expose);
//! ```

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod abi;
mod abi_version;
pub mod absence;
pub mod activity;
pub mod backing;
pub mod boot_count;
pub mod boot_disk;
pub mod bus_memory;
pub mod calendar;
pub mod census;
pub mod census_record;
pub mod channel;
pub mod controllers;
pub mod crash_dump;
pub mod decision;
pub mod devnode;
pub mod filter_list;
pub mod host;
pub mod last_boot;
pub mod machine;
pub mod message;
pub mod options;
pub mod other_suites;
pub mod pci_id;
pub mod pci_walk;
pub mod policy;
pub mod provenance;
pub mod reason;
pub mod record;
pub mod root_bus;
pub mod setup_class;
pub mod sharing;
pub mod start_override;
pub mod storage_id;
pub mod tripwire;
pub mod units;

pub use machine::{Action, BugCheck, Event, Guard};
pub use reason::Reason;
