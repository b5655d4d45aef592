//! The boots of `cargo xtask demo`, in its order.

use guard::Reason;
use protocol::Fault;

use crate::scenario::{BASE, Expect, PV, PV_BOOT, Scenario, emulated};

/// The guests, in the order of the table in docs/testing.md.
pub const BOOTS: &[Scenario] = &[
    Scenario { name: "emulated", title: "the emulated entry: the suite stays out of the way", ..BASE },
    Scenario {
        name: "pv",
        title: "the PV entry: IDE hidden, the disk is mounted once, through xenvbd",
        ..PV_BOOT
    },
    Scenario {
        name: "alias-returns",
        title: "sabotage: no unplug, no filter on storage, and the IDE controller comes back past the bus filter",
        registry: census_alone!(),
        fault: Some(Fault::IdeReturn),
        expect: Expect { ide: 1, stop: Some((Reason::AliasExposed, 1, 2)), ..PV },
        ..PV_BOOT
    },
    Scenario {
        name: "filter-detached",
        title: "sabotage: the filter is not on the PCI bus: the controller starts, and nothing PV is exposed",
        registry: concat!(
            key!("Control\\Class\\{4D36E97D-E325-11CE-BFC1-08002BE10318}"),
            "\"UpperFilters\"=-\n"
        ),
        expect: Expect { withheld: Some(Reason::AliasStarted), ..emulated(Reason::PvSelected) },
        ..PV_BOOT
    },
];
