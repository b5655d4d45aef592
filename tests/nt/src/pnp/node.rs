//! Device nodes: what the PnP manager knows of each device.

use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::ke::Lock;
use crate::nt::*;

/// State that a device has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Known, no stack built: its function driver is yet to start, or it may be tried again.
    Enumerated,
    /// Started.
    Started,
    /// It could not be configured or started, and the boot does not try again.
    Failed,
}

/// A device.
#[derive(Clone)]
pub(super) struct Node {
    /// Address of the PDO, which the node references.
    pub pdo: usize,
    /// Address of the parent's PDO; 0 for children of the root.
    pub parent: usize,
    /// `Enumerator\Device\Instance`.
    pub instance: String,
    pub hardware: Vec<String>,
    pub compatible: Vec<String>,
    pub description: String,
    pub location: String,
    pub capabilities: DeviceCapabilities,
    pub bus: Option<(Guid, i32, u32)>,
    pub service: Option<String>,
    pub class: Option<String>,
    pub state: State,
}

static NODES: Lock<Vec<Node>> = Lock::new(Vec::new());
static CHANGES: AtomicU32 = AtomicU32::new(0);

/// Returns the number of devices that were added, removed or started so far.
pub(super) fn changes() -> u32 {
    CHANGES.load(Ordering::Relaxed)
}

/// Adds a node.
pub(super) fn add(node: Node) {
    CHANGES.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the node references its PDO.
    unsafe {
        let pdo = node.pdo as *mut DeviceObject;
        (*pdo).flags |= DO_BUS_ENUMERATED_DEVICE;
        (*(*pdo).device_object_extension).device_node = pdo.cast();
    }
    NODES.lock().push(node);
}

/// Takes a node out.
pub(super) fn take(pdo: *mut DeviceObject) -> Option<Node> {
    CHANGES.fetch_add(1, Ordering::Relaxed);
    let mut nodes = NODES.lock();
    let at = nodes.iter().position(|node| node.pdo == pdo as usize)?;
    // SAFETY: the node references its PDO.
    unsafe { (*(*pdo).device_object_extension).device_node = core::ptr::null_mut() };
    Some(nodes.remove(at))
}

/// Returns the node of a PDO.
pub(super) fn of(pdo: *mut DeviceObject) -> Option<Node> {
    NODES.lock().iter().find(|node| node.pdo == pdo as usize).cloned()
}

/// Changes the node of a PDO.
pub(super) fn change(pdo: *mut DeviceObject, change: impl FnOnce(&mut Node)) {
    CHANGES.fetch_add(1, Ordering::Relaxed);
    if let Some(node) = NODES.lock().iter_mut().find(|node| node.pdo == pdo as usize) {
        change(node);
    }
}

/// Returns the PDOs of a device's children.
pub(super) fn children(parent: *mut DeviceObject) -> Vec<*mut DeviceObject> {
    let nodes = NODES.lock();
    nodes
        .iter()
        .filter(|node| node.parent == parent as usize)
        .map(|node| node.pdo as *mut DeviceObject)
        .collect()
}

/// Returns the PDOs of the started devices, children before their parents.
pub(super) fn leaves_first() -> Vec<*mut DeviceObject> {
    let nodes = NODES.lock();
    let depth = |node: &Node| {
        let mut depth = 0;
        let mut parent = node.parent;
        while let Some(above) = nodes.iter().find(|node| node.pdo == parent) {
            (depth, parent) = (depth + 1, above.parent);
        }
        depth
    };
    let mut started: Vec<_> = nodes
        .iter()
        .filter(|node| node.state == State::Started)
        .map(|node| (depth(node), node.pdo))
        .collect();
    started.sort_by_key(|&(depth, _)| core::cmp::Reverse(depth));
    started.into_iter().map(|(_, pdo)| pdo as *mut DeviceObject).collect()
}

/// Returns the PDOs of the devices whose stack is still to be built.
pub(super) fn waiting() -> Vec<*mut DeviceObject> {
    let nodes = NODES.lock();
    let own = nodes.iter().filter(|node| node.service.is_some() && node.state == State::Enumerated);
    own.map(|node| node.pdo as *mut DeviceObject).collect()
}

/// Returns the PDOs of the devices that have no function driver.
pub(super) fn without_driver() -> Vec<*mut DeviceObject> {
    let nodes = NODES.lock();
    let own = nodes.iter().filter(|node| node.service.is_none() && node.state != State::Started);
    own.map(|node| node.pdo as *mut DeviceObject).collect()
}

/// Returns the PDOs of a function driver's devices.
pub(super) fn of_service(service: &str) -> Vec<*mut DeviceObject> {
    let nodes = NODES.lock();
    let own =
        nodes.iter().filter(|node| node.service.as_deref().is_some_and(|s| s.eq_ignore_ascii_case(service)));
    own.map(|node| node.pdo as *mut DeviceObject).collect()
}
