//! Hardware resource lists (wdm.h).

use crate::layout;

/// `CM_PARTIAL_RESOURCE_DESCRIPTOR`: packed to 4 bytes, 16 bytes of arguments.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub(crate) struct CmPartialResourceDescriptor {
    pub kind: u8,
    pub share_disposition: u8,
    pub flags: u16,
    pub u: ResourceArguments,
}
layout!(CmPartialResourceDescriptor, 20, u @ 4);

/// The arguments of a resource descriptor.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub(crate) union ResourceArguments {
    pub generic: ResourceRange,
    pub interrupt: ResourceInterrupt,
    pub bus_number: ResourceBusNumber,
    pub device_private: [u32; 3],
}

/// `u.Port`, `u.Memory`, `u.Generic`.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub(crate) struct ResourceRange {
    pub start: i64,
    pub length: u32,
}

/// `u.BusNumber`.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub(crate) struct ResourceBusNumber {
    pub start: u32,
    pub length: u32,
    pub reserved: u32,
}

/// `u.Interrupt`.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub(crate) struct ResourceInterrupt {
    pub level: u32,
    pub vector: u32,
    pub affinity: u64,
}

/// `CmResourceTypePort`.
pub(crate) const CM_RESOURCE_TYPE_PORT: u8 = 1;
/// `CmResourceTypeInterrupt`.
pub(crate) const CM_RESOURCE_TYPE_INTERRUPT: u8 = 2;
/// `CmResourceTypeMemory`.
pub(crate) const CM_RESOURCE_TYPE_MEMORY: u8 = 3;
/// `CmResourceTypeDevicePrivate`: for the function driver, and nothing to the bus driver.
pub(crate) const CM_RESOURCE_TYPE_DEVICE_PRIVATE: u8 = 0x81;
/// `CmResourceTypeBusNumber`.
pub(crate) const CM_RESOURCE_TYPE_BUS_NUMBER: u8 = 6;
/// `CmResourceShareDeviceExclusive`.
pub(crate) const CM_RESOURCE_SHARE_DEVICE_EXCLUSIVE: u8 = 1;
/// `CmResourceShareShared`.
pub(crate) const CM_RESOURCE_SHARE_SHARED: u8 = 3;
/// `CM_RESOURCE_PORT_IO`.
pub(crate) const CM_RESOURCE_PORT_IO: u16 = 1;
/// `CM_RESOURCE_PORT_POSITIVE_DECODE`.
pub(crate) const CM_RESOURCE_PORT_POSITIVE_DECODE: u16 = 0x20;
/// `CM_RESOURCE_MEMORY_PREFETCHABLE`.
pub(crate) const CM_RESOURCE_MEMORY_PREFETCHABLE: u16 = 4;
/// `CM_RESOURCE_INTERRUPT_LATCHED`; 0 is level-sensitive.
pub(crate) const CM_RESOURCE_INTERRUPT_LATCHED: u16 = 1;

/// `CM_RESOURCE_LIST` with one full descriptor, up to its partial descriptors, which follow.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct CmResourceList {
    pub count: u32,
    pub interface_type: i32,
    pub bus_number: u32,
    pub version: u16,
    pub revision: u16,
    pub partial_count: u32,
}
layout!(CmResourceList, 20, interface_type @ 4, bus_number @ 8, partial_count @ 16);

/// `Internal` as `INTERFACE_TYPE`.
pub(crate) const INTERFACE_TYPE_INTERNAL: i32 = 0;
/// `PCIBus`.
pub(crate) const INTERFACE_TYPE_PCI_BUS: i32 = 5;

impl CmResourceList {
    /// Returns the partial descriptors that follow the header.
    ///
    /// # Safety
    /// `list` must be null or a list of one full descriptor with its partial descriptors behind it.
    pub(crate) unsafe fn partials<'a>(list: *const Self) -> &'a [CmPartialResourceDescriptor] {
        if list.is_null() {
            return &[];
        }
        // SAFETY: by this function's contract, `list` is null or a list of one full descriptor with its
        // partial descriptors behind it.
        unsafe { core::slice::from_raw_parts(list.add(1).cast(), (*list).partial_count as usize) }
    }
}
