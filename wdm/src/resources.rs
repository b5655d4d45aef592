//! Hardware resources of a started device.
#![expect(unsafe_code, reason = "walks a variable-length CM_RESOURCE_LIST")]

use alloc::vec::Vec;
use core::marker::PhantomData;
use core::mem::offset_of;

use wdk_sys::{
    CM_FULL_RESOURCE_DESCRIPTOR, CM_PARTIAL_RESOURCE_DESCRIPTOR, CM_PARTIAL_RESOURCE_LIST,
    CM_RESOURCE_INTERRUPT_LATCHED, CM_RESOURCE_INTERRUPT_MESSAGE, CM_RESOURCE_LIST, PCM_RESOURCE_LIST,
};

use crate::{Result, pool};

/// One resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// I/O ports.
    Port {
        /// First port.
        start: u64,
        /// Number of ports.
        length: u32,
    },
    /// Memory-mapped registers.
    Memory {
        /// First physical address.
        start: u64,
        /// Bytes.
        length: u32,
    },
    /// Numbers of buses, of a device that is a root bus or a bridge.
    BusNumber {
        /// First number.
        start: u32,
        /// Number of buses.
        length: u32,
    },
    /// An interrupt.
    Interrupt(InterruptResource),
    /// A resource of another kind (its CmResourceType).
    Other(u8),
}

/// An interrupt, as IoConnectInterrupt takes it (translated) or as the bus has it (raw).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InterruptResource {
    /// The IRQL, or the line.
    pub level: u32,
    /// The system's vector, or the line.
    pub vector: u32,
    /// Processors it may go to.
    pub affinity: u64,
    /// Edge-triggered instead of level-sensitive.
    pub latched: bool,
    /// True if the line is shared.
    pub shared: bool,
    /// It is no line but a message, of NT 6.0 and later.
    pub message: bool,
}

/// The resource list of an IRP_MN_START_DEVICE; empty where PnP gave none.
#[derive(Clone, Copy)]
pub struct Resources<'a> {
    list: *const CM_RESOURCE_LIST,
    irp: PhantomData<&'a CM_RESOURCE_LIST>,
}

impl<'a> Resources<'a> {
    /// # Safety
    /// `list` is null or a list that is valid for `'a`.
    pub(crate) const unsafe fn from_raw(list: PCM_RESOURCE_LIST) -> Self {
        Self { list, irp: PhantomData }
    }

    /// Returns the resources, in order. A device of one bus has one full descriptor: the first is read.
    pub fn iter(&self) -> impl Iterator<Item = Resource> + use<'a> {
        // SAFETY: a valid list by `from_raw`'s contract; Count descriptors follow it in memory.
        let descriptors: &'a [CM_PARTIAL_RESOURCE_DESCRIPTOR] = unsafe {
            match self.list.as_ref() {
                Some(list) if list.Count > 0 => {
                    let partial = &raw const (*self.list).List[0].PartialResourceList;
                    let first =
                        (&raw const (*partial).PartialDescriptors).cast::<CM_PARTIAL_RESOURCE_DESCRIPTOR>();
                    core::slice::from_raw_parts(first, (*partial).Count as usize)
                }
                _ => &[],
            }
        };
        descriptors.iter().map(read)
    }

    /// Returns the n-th port range, counted from 0.
    #[must_use]
    pub fn port(&self, n: usize) -> Option<(u64, u32)> {
        let ports = |resource| match resource {
            Resource::Port { start, length } => Some((start, length)),
            _ => None,
        };
        self.iter().filter_map(ports).nth(n)
    }

    /// Returns the n-th memory range, counted from 0.
    #[must_use]
    pub fn memory(&self, n: usize) -> Option<(u64, u32)> {
        let ranges = |resource| match resource {
            Resource::Memory { start, length } => Some((start, length)),
            _ => None,
        };
        self.iter().filter_map(ranges).nth(n)
    }

    /// Returns a copy of the list in which the interrupt messages are private to the function driver
    /// (CmResourceTypeDevicePrivate), so that a bus driver passes them over; `None` where there is no
    /// message. The copy is aligned as a list has to be. ≤ DISPATCH_LEVEL.
    ///
    /// # Errors
    /// `INSUFFICIENT_RESOURCES`.
    pub(crate) fn with_private_messages(&self) -> Result<Option<Vec<u64>>> {
        if self.messages().next().is_none() {
            return Ok(None);
        }
        // SAFETY: a valid list by `from_raw`'s contract, not null as it has messages; `full` walks it by the
        // counts that it states.
        let length = unsafe {
            let mut full = (&raw const (*self.list).List).cast::<CM_FULL_RESOURCE_DESCRIPTOR>();
            for _ in 0..(*self.list).Count {
                let count = (*full).PartialResourceList.Count as usize;
                full = full.byte_add(FULL_HEADER + count * size_of::<CM_PARTIAL_RESOURCE_DESCRIPTOR>());
            }
            full.byte_offset_from_unsigned(self.list)
        };
        let mut copy = pool::try_vec::<u64>(length.div_ceil(size_of::<u64>()))?;
        // SAFETY: the list is that long and the copy no shorter; both are plain data, and the copy is walked by
        // the same counts.
        unsafe {
            let list = copy.as_mut_ptr().cast::<CM_RESOURCE_LIST>();
            list.cast::<u8>().copy_from_nonoverlapping(self.list.cast(), length);
            let mut full = (&raw mut (*list).List).cast::<CM_FULL_RESOURCE_DESCRIPTOR>();
            for _ in 0..(*list).Count {
                let count = (*full).PartialResourceList.Count as usize;
                let first = full.byte_add(FULL_HEADER).cast::<CM_PARTIAL_RESOURCE_DESCRIPTOR>();
                for descriptor in core::slice::from_raw_parts_mut(first, count) {
                    if matches!(read(descriptor), Resource::Interrupt(interrupt) if interrupt.message) {
                        descriptor.Type = DEVICE_PRIVATE;
                    }
                }
                full = first.add(count).cast();
            }
        }
        Ok(Some(copy))
    }

    /// Returns the number of the bus itself, of a device that is a root bus.
    #[must_use]
    pub fn bus_number(&self) -> Option<u32> {
        self.iter().find_map(|resource| match resource {
            Resource::BusNumber { start, .. } => Some(start),
            _ => None,
        })
    }

    fn interrupts(&self) -> impl Iterator<Item = InterruptResource> + use<'a> {
        self.iter().filter_map(|resource| match resource {
            Resource::Interrupt(interrupt) => Some(interrupt),
            _ => None,
        })
    }

    /// Returns the first interrupt line.
    #[must_use]
    pub fn interrupt(&self) -> Option<InterruptResource> {
        self.interrupts().find(|interrupt| !interrupt.message)
    }

    /// Returns the interrupt messages.
    pub fn messages(&self) -> impl Iterator<Item = InterruptResource> + use<'a> {
        self.interrupts().filter(|interrupt| interrupt.message)
    }
}

const BUS_NUMBER: u32 = wdk_sys::CmResourceTypeBusNumber;
const PORT: u32 = wdk_sys::CmResourceTypePort;
const INTERRUPT: u32 = wdk_sys::CmResourceTypeInterrupt;
const MEMORY: u32 = wdk_sys::CmResourceTypeMemory;

/// CmResourceTypeDevicePrivate.
const DEVICE_PRIVATE: u8 = wdk_sys::CmResourceTypeDevicePrivate as u8;
/// Bytes of a full descriptor before its partial descriptors.
const FULL_HEADER: usize = offset_of!(CM_FULL_RESOURCE_DESCRIPTOR, PartialResourceList)
    + offset_of!(CM_PARTIAL_RESOURCE_LIST, PartialDescriptors);

/// CmResourceShareShared.
const SHARED: u8 = 3;

fn read(descriptor: &CM_PARTIAL_RESOURCE_DESCRIPTOR) -> Resource {
    // SAFETY: Type selects the live member of the union; all members are integers. The structure is
    // packed to 4 bytes, so fields are copied, never referenced.
    unsafe {
        match u32::from(descriptor.Type) {
            PORT => {
                let port = descriptor.u.Port;
                Resource::Port { start: { port.Start }.QuadPart as u64, length: port.Length }
            }
            MEMORY => {
                let memory = descriptor.u.Memory;
                Resource::Memory { start: { memory.Start }.QuadPart as u64, length: memory.Length }
            }
            INTERRUPT => {
                // A translated message (`u.MessageInterrupt.Translated`) has the same layout.
                let interrupt = descriptor.u.Interrupt;
                Resource::Interrupt(InterruptResource {
                    level: interrupt.Level,
                    vector: interrupt.Vector,
                    affinity: interrupt.Affinity,
                    latched: u32::from(descriptor.Flags) & CM_RESOURCE_INTERRUPT_LATCHED != 0,
                    shared: descriptor.ShareDisposition == SHARED,
                    message: u32::from(descriptor.Flags) & CM_RESOURCE_INTERRUPT_MESSAGE != 0,
                })
            }
            BUS_NUMBER => {
                let buses = descriptor.u.BusNumber;
                Resource::BusNumber { start: buses.Start, length: buses.Length }
            }
            _ => Resource::Other(descriptor.Type),
        }
    }
}
