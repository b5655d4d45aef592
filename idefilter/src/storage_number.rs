//! The numbers by which the guard knows emulated storage devices, and which devices hang on which controller.

use guard::machine::MAX_DEVICES;
use wdm::{DeviceObject, SpinLock, property};

/// The key that a device is recognized by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    /// A PCI function, by bus number and address: the same when it comes again.
    Function { bus: u32, address: u32 },
    /// Anything else, by its PDO.
    Device(DeviceObject),
}

impl Key {
    /// Returns the key of a PDO with a device node. PASSIVE_LEVEL.
    fn of(pdo: DeviceObject, is_function: bool) -> Self {
        match (property::bus_number(pdo), property::address(pdo)) {
            (Ok(bus), Ok(address)) if is_function => Self::Function { bus, address },
            _ => Self::Device(pdo),
        }
    }
}

/// Most channels of one controller: IDE has two.
const CHANNELS: usize = 2;

#[derive(Clone, Copy)]
struct Entry {
    key: Key,
    /// The channels that the device last reported.
    channels: [Option<DeviceObject>; CHANNELS],
}

static ENTRIES: SpinLock<[Option<Entry>; MAX_DEVICES]> = SpinLock::new([None; MAX_DEVICES]);

/// Returns the number of the device with this PDO: the one that it had, or a free one, or one too large for
/// the guard where there is none. PASSIVE_LEVEL.
pub(crate) fn take(pdo: DeviceObject, is_function: bool) -> u32 {
    let key = Key::of(pdo, is_function);
    let mut entries = ENTRIES.lock();
    let known = entries.iter().position(|entry| entry.is_some_and(|entry| entry.key == key));
    let Some(number) = known.or_else(|| entries.iter().position(Option::is_none)) else { return u32::MAX };
    entries[number] = Some(Entry { key, channels: [None; CHANNELS] });
    number as u32
}

/// Releases the number of a device that was removed. A PCI function keeps its number. IRQL ≤ DISPATCH_LEVEL.
pub(crate) fn release(number: u32) {
    let mut entries = ENTRIES.lock();
    let Some(slot) = entries.get_mut(number as usize) else { return };
    match slot {
        Some(entry) if matches!(entry.key, Key::Function { .. }) => {
            entry.channels = [None; CHANNELS];
        }
        _ => *slot = None,
    }
}

/// Notes the channels that a controller has reported. Their PDOs exist as long as it goes on reporting them,
/// and are forgotten as soon as it does not: the controller's bus driver deletes none that was reported
/// before it has answered without it. IRQL ≤ DISPATCH_LEVEL.
pub(crate) fn set_channels(number: u32, channels: &[DeviceObject]) {
    if let Some(Some(entry)) = ENTRIES.lock().get_mut(number as usize) {
        entry.channels = core::array::from_fn(|n| channels.get(n).copied());
    }
}

/// Returns true if a PDO is a channel of an emulated controller. IRQL ≤ DISPATCH_LEVEL.
pub(crate) fn is_channel(pdo: DeviceObject) -> bool {
    ENTRIES.lock().iter().flatten().any(|entry| entry.channels.contains(&Some(pdo)))
}
