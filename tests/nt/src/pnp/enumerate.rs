//! Enumeration: asks a bus for its children, takes in the new ones and removes the missing ones.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::node::{self, Node, State};
use super::{configure, remove, serialized, stack, start};
use crate::nt::*;
use crate::verifier::{Violation, violation};
use crate::{ex, ob, pci};

/// Enumerates a device's children, starts the new ones and enumerates those in turn.
///
/// # Safety
/// `pdo` has a started node. IRQL `PASSIVE_LEVEL`, serialized.
pub(super) unsafe fn enumerate(pdo: *mut DeviceObject) {
    // SAFETY: by this function's contract, `pdo` has a started node. IRQL `PASSIVE_LEVEL`, serialized.
    unsafe {
        let Some(reported) = stack::relations(pdo, BUS_RELATIONS) else { return };
        pci::report_relations(pdo, &reported);
        for gone in node::children(pdo) {
            if !reported.contains(&gone) {
                remove::surprise(gone);
            }
        }
        let mut fresh = Vec::new();
        for &child in &reported {
            if node::of(child).is_some() {
                // The node has its own reference; this one was the answer's.
                ob::dereference(child.cast());
            } else if let Some(node) = identify(child, pdo) {
                check_flags(child);
                node::add(node);
                fresh.push(child);
            } else {
                ob::dereference(child.cast());
            }
        }
        for child in fresh {
            if start::start(child) {
                let node = node::of(child).expect("the node was just started");
                crate::log!("started {} stack={}", node.instance, start::describe(child));
                enumerate(child);
            }
        }
    }
}

/// Checks a flag that is the PnP manager's to set ("DEVICE_OBJECT structure", Flags): a driver from a file
/// must not have set it.
unsafe fn check_flags(pdo: *mut DeviceObject) {
    // SAFETY: the caller keeps `pdo` valid for this call.
    unsafe {
        let driver = crate::io::driver::name_of((*pdo).driver_object);
        let from_file = crate::ldr::with_image(&format!("{driver}.sys"), |_| ()).is_some();
        if (*pdo).flags & DO_BUS_ENUMERATED_DEVICE != 0 && from_file {
            violation(Violation::FlagOfTheSystem, format_args!("driver={driver} device={pdo:p}"));
        }
    }
}

/// Asks a new child who it is, and configures it. The answer's reference becomes the node's.
///
/// # Safety
/// `pdo` was reported by the bus of `parent`.
pub(super) unsafe fn identify(pdo: *mut DeviceObject, parent: *mut DeviceObject) -> Option<Node> {
    // SAFETY: by this function's contract, `pdo` was reported by the bus of `parent`.
    unsafe {
        let device = stack::id(pdo, BUS_QUERY_DEVICE_ID)?;
        let instance = stack::id(pdo, BUS_QUERY_INSTANCE_ID).unwrap_or_default();
        let capabilities = stack::capabilities(pdo);
        let instance = if capabilities.bits & CAP_UNIQUE_ID != 0 {
            instance
        } else {
            below(&node::of(parent).map(|node| node.instance).unwrap_or_default(), &instance)
        };
        let mut node = Node {
            pdo: pdo as usize,
            parent: parent as usize,
            instance: format!("{device}\\{instance}"),
            hardware: stack::ids(pdo, BUS_QUERY_HARDWARE_IDS),
            compatible: stack::ids(pdo, BUS_QUERY_COMPATIBLE_IDS),
            description: stack::text(pdo, DEVICE_TEXT_DESCRIPTION),
            location: stack::text(pdo, DEVICE_TEXT_LOCATION_INFORMATION),
            capabilities,
            bus: stack::bus(pdo),
            service: None,
            class: None,
            state: State::Enumerated,
        };
        configure::configure(&mut node);
        Some(node)
    }
}

/// Makes an instance id that is unique under its parent only unique by the parent, as NT does with a hash of the
/// parent's instance path.
pub(super) fn below(parent: &str, instance: &str) -> String {
    let hash = parent.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(37).wrapping_add(byte.into()));
    format!("4&{hash:x}&0&{instance}")
}

/// Does setup's part in a running NT 6.2 or later: devices that the boot has left without a driver, since no
/// earlier boot had installed them, get it from the packages that are there, are started, and their children
/// follow.
///
/// # Safety
/// IRQL `PASSIVE_LEVEL`, once, when the session manager has run.
pub(crate) unsafe fn install_devices() {
    configure::setup_runs();
    if !configure::is_strict() {
        return;
    }
    // SAFETY: the caller is at IRQL `PASSIVE_LEVEL`, once, when the session manager has run.
    unsafe {
        serialized(|| {
            for pdo in node::without_driver() {
                let Some(mut node) = node::of(pdo) else { continue };
                configure::configure(&mut node);
                if node.service.is_none() {
                    continue;
                }
                crate::log!("setup: installed {}", node.instance);
                node::change(pdo, |known| {
                    (known.service, known.class) = (node.service, node.class);
                    known.description = node.description;
                });
                if start::start(pdo) {
                    let node = node::of(pdo).expect("the node was just started");
                    crate::log!("started {} stack={}", node.instance, start::describe(pdo));
                    enumerate(pdo);
                }
            }
        });
    }
}

/// Buses that are to be asked again, or are being asked.
static AWAITED: AtomicUsize = AtomicUsize::new(0);

/// Returns true if a bus is still to be asked again, as NT's boot waits for before the session manager runs.
pub(super) fn is_awaited() -> bool {
    AWAITED.load(Ordering::Acquire) != 0
}

unsafe extern "win64" fn re_enumerate(context: Pvoid) {
    let pdo: *mut DeviceObject = context.cast();
    // SAFETY: the caller keeps `context` valid for this call.
    unsafe {
        serialized(|| {
            if node::of(pdo).is_some_and(|node| node.state == State::Started) {
                enumerate(pdo);
            }
        });
        ob::dereference(context);
    }
    AWAITED.fetch_sub(1, Ordering::AcqRel);
}

/// `IoInvalidateDeviceRelations`: the bus is asked again, later, by a worker. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `pdo` is a PDO.
pub(crate) unsafe extern "win64" fn IoInvalidateDeviceRelations(pdo: *mut DeviceObject, kind: u32) {
    // SAFETY: by this function's contract, `pdo` is a PDO.
    unsafe {
        if kind == BUS_RELATIONS {
            ob::reference(pdo.cast());
            AWAITED.fetch_add(1, Ordering::AcqRel);
            ex::worker::queue(ex::worker::Work { routine: re_enumerate, context: pdo.cast() });
        }
    }
}
