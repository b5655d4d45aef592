//! The firmware's tables and protocols, as far as they are used (UEFI specification 2.8).

use core::ffi::c_void;
use core::ptr::null_mut;

/// An object of the firmware's.
pub(crate) type Handle = *mut c_void;

/// `EFI_STATUS`: 0 is success; the highest bit is set in an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Status(pub usize);

const ERROR: usize = 1 << (usize::BITS - 1);
/// `EFI_NOT_FOUND`.
pub(crate) const NOT_FOUND: Status = Status(ERROR | 14);

impl Status {
    /// Returns the status as an error, unless it is a success or a warning.
    pub(crate) fn ok(self) -> Result<(), Self> {
        if self.0 & ERROR == 0 { Ok(()) } else { Err(self) }
    }
}

/// `EFI_GUID`.
#[repr(C)]
pub(crate) struct Guid(u32, u16, u16, [u8; 8]);

/// `EFI_LOADED_IMAGE_PROTOCOL_GUID`.
const LOADED_IMAGE: Guid = Guid(0x5B1B_31A1, 0x9562, 0x11D2, [0x8E, 0x3F, 0, 0xA0, 0xC9, 0x69, 0x72, 0x3B]);
/// `EFI_DEVICE_PATH_PROTOCOL_GUID`.
const DEVICE_PATH: Guid = Guid(0x0957_6E91, 0x6D3F, 0x11D2, [0x8E, 0x39, 0, 0xA0, 0xC9, 0x69, 0x72, 0x3B]);
/// `EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID`.
const FILE_SYSTEM: Guid = Guid(0x964E_5B22, 0x6459, 0x11D2, [0x8E, 0x39, 0, 0xA0, 0xC9, 0x69, 0x72, 0x3B]);

/// A member of a table that is not called.
type Unused = usize;

/// `EFI_SYSTEM_TABLE` (4.3) up to the boot services.
#[repr(C)]
pub(crate) struct SystemTable {
    header: [u64; 3],
    before: [Unused; 9],
    boot_services: *const BootServices,
}

/// `EFI_BOOT_SERVICES` (4.4), up to `LocateHandleBuffer`.
#[repr(C)]
struct BootServices {
    header: [u64; 3],
    priority: [Unused; 2],
    allocate_pages: unsafe extern "efiapi" fn(u32, u32, usize, *mut u64) -> Status,
    free_pages: Unused,
    get_memory_map:
        unsafe extern "efiapi" fn(*mut usize, *mut c_void, *mut usize, *mut usize, *mut u32) -> Status,
    allocate_pool: unsafe extern "efiapi" fn(u32, usize, *mut *mut u8) -> Status,
    free_pool: unsafe extern "efiapi" fn(*mut u8) -> Status,
    events_and_protocols: [Unused; 9],
    handle_protocol: unsafe extern "efiapi" fn(Handle, *const Guid, *mut *mut c_void) -> Status,
    handles_and_images: [Unused; 9],
    exit_boot_services: unsafe extern "efiapi" fn(Handle, usize) -> Status,
    others: [Unused; 9],
    locate_handle_buffer:
        unsafe extern "efiapi" fn(u32, *const Guid, *const c_void, *mut usize, *mut *mut Handle) -> Status,
}

const _: () = assert!(core::mem::offset_of!(SystemTable, boot_services) == 96);
const _: () = assert!(core::mem::offset_of!(BootServices, handle_protocol) == 152);
const _: () = assert!(core::mem::offset_of!(BootServices, exit_boot_services) == 232);
const _: () = assert!(core::mem::offset_of!(BootServices, locate_handle_buffer) == 312);

/// `EFI_LOADED_IMAGE_PROTOCOL` (9.1) up to the device.
#[repr(C)]
struct LoadedImage {
    revision: u32,
    parent: Handle,
    system_table: *const SystemTable,
    device: Handle,
}

/// `EFI_SIMPLE_FILE_SYSTEM_PROTOCOL` (13.4).
#[repr(C)]
struct FileSystem {
    revision: u64,
    open_volume: unsafe extern "efiapi" fn(*mut Self, *mut *mut FileProtocol) -> Status,
}

/// `EFI_FILE_PROTOCOL` (13.5) up to `SetPosition`.
#[repr(C)]
struct FileProtocol {
    revision: u64,
    open: unsafe extern "efiapi" fn(*mut Self, *mut *mut Self, *const u16, u64, u64) -> Status,
    close: unsafe extern "efiapi" fn(*mut Self) -> Status,
    delete: Unused,
    read: unsafe extern "efiapi" fn(*mut Self, *mut usize, *mut u8) -> Status,
    write: Unused,
    get_position: unsafe extern "efiapi" fn(*mut Self, *mut u64) -> Status,
    set_position: unsafe extern "efiapi" fn(*mut Self, u64) -> Status,
}

/// `EFI_MEMORY_DESCRIPTOR` (7.2).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Descriptor {
    /// `EFI_MEMORY_TYPE`.
    pub kind: u32,
    pub physical: u64,
    pub virtual_address: u64,
    /// Pages of 4 KiB.
    pub pages: u64,
    pub attributes: u64,
}

/// `EfiLoaderData`.
pub(crate) const LOADER_DATA: u32 = 2;

/// The firmware's services before the system takes over.
#[derive(Clone, Copy)]
pub(crate) struct Services(&'static BootServices);

impl Services {
    /// Takes the services of a table.
    ///
    /// # Safety
    /// The table is the one that the firmware gave, and the firmware still has the machine. No method is called after
    /// [`Self::exit`].
    pub(crate) unsafe fn new(table: *const SystemTable) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self(&*(*table).boot_services) }
    }

    /// Allocates whole pages below an address, as high as it can; the address of the first. They are not zeroed.
    pub(crate) fn pages(self, count: usize, below: u64) -> Result<usize, Status> {
        /// `AllocateMaxAddress`.
        const UP_TO: u32 = 1;
        let mut address = below - 1;
        // SAFETY: the service, with its arguments.
        unsafe { (self.0.allocate_pages)(UP_TO, LOADER_DATA, count, &raw mut address) }.ok()?;
        Ok(address as usize)
    }

    /// Allocates bytes at an address of which 8 is a divisor; null without memory.
    pub(crate) fn pool(self, bytes: usize) -> *mut u8 {
        let mut at = null_mut();
        // SAFETY: the service, with its arguments.
        match unsafe { (self.0.allocate_pool)(LOADER_DATA, bytes, &raw mut at) }.ok() {
            Ok(()) => at,
            Err(_) => null_mut(),
        }
    }

    /// Gives back what [`Self::pool`] has allocated.
    ///
    /// # Safety
    /// Nobody uses it any more.
    pub(crate) unsafe fn free_pool(self, at: *mut u8) {
        // SAFETY: the caller's promise. Memory that is not given back is lost until the system takes over.
        let _ = unsafe { (self.0.free_pool)(at) };
    }

    /// Reads the memory map into the buffer; its bytes, the bytes of a descriptor, and the map's key.
    pub(crate) fn memory_map(self, buffer: &mut [u64]) -> Result<(usize, usize, usize), Status> {
        let mut bytes = size_of_val(buffer);
        let (mut key, mut step, mut version) = (0, 0, 0);
        let map = buffer.as_mut_ptr().cast();
        // SAFETY: the buffer has that many bytes, and is aligned for a descriptor.
        unsafe {
            (self.0.get_memory_map)(&raw mut bytes, map, &raw mut key, &raw mut step, &raw mut version)
        }
        .ok()?;
        Ok((bytes, step, key))
    }

    /// Ends the firmware's services: its drivers run their exit handlers.
    ///
    /// # Safety
    /// With success no service is called any more.
    pub(crate) unsafe fn exit(self, image: Handle, key: usize) -> Result<(), Status> {
        // SAFETY: the caller's promise.
        unsafe { (self.0.exit_boot_services)(image, key) }.ok()
    }

    fn protocol<T>(self, handle: Handle, guid: &Guid) -> Result<*mut T, Status> {
        let mut interface = null_mut();
        // SAFETY: the service, with its arguments.
        unsafe { (self.0.handle_protocol)(handle, guid, &raw mut interface) }.ok()?;
        Ok(interface.cast())
    }

    /// Returns the volume that an image was loaded from.
    pub(crate) fn volume_of(self, image: Handle) -> Result<Handle, Status> {
        let image: *mut LoadedImage = self.protocol(image, &LOADED_IMAGE)?;
        // SAFETY: the protocol's structure.
        Ok(unsafe { (*image).device })
    }

    /// Returns every volume that the firmware can read files of.
    pub(crate) fn volumes(self) -> Result<&'static [Handle], Status> {
        const BY_PROTOCOL: u32 = 2;
        let (mut count, mut handles) = (0, null_mut());
        // SAFETY: the service, with its arguments; the list is never freed.
        unsafe {
            let list = self.0.locate_handle_buffer;
            list(BY_PROTOCOL, &FILE_SYSTEM, null_mut(), &raw mut count, &raw mut handles).ok()?;
            Ok(core::slice::from_raw_parts(handles, count))
        }
    }

    /// Returns the nodes of a device's path (10.3): type and sub-type of each.
    pub(crate) fn path(self, device: Handle) -> Result<impl Iterator<Item = (u8, u8)>, Status> {
        const END: u8 = 0x7F;
        let mut node: *const u8 = self.protocol(device, &DEVICE_PATH)?;
        Ok(core::iter::from_fn(move || {
            // SAFETY: a path is a row of nodes, each with its length behind its types, up to an end node.
            unsafe {
                let types = (*node, *node.add(1));
                node = node.add(usize::from(u16::from_le_bytes([*node.add(2), *node.add(3)])));
                (types.0 != END).then_some(types)
            }
        }))
    }

    /// Opens the root folder of a volume.
    pub(crate) fn open(self, volume: Handle) -> Result<File, Status> {
        let system: *mut FileSystem = self.protocol(volume, &FILE_SYSTEM)?;
        let mut root = null_mut();
        // SAFETY: the protocol's routine.
        unsafe { ((*system).open_volume)(system, &raw mut root) }.ok()?;
        Ok(File(root))
    }
}

/// An open file or folder.
pub(crate) struct File(*mut FileProtocol);

impl File {
    /// Opens a file by its path from this folder, for reading.
    pub(crate) fn open(&self, path: &str) -> Result<Self, Status> {
        const READ: u64 = 1;
        let name: alloc::vec::Vec<u16> = path.encode_utf16().chain([0]).collect();
        let mut file = null_mut();
        // SAFETY: the protocol's routine; the name ends with a zero.
        unsafe { ((*self.0).open)(self.0, &raw mut file, name.as_ptr(), READ, 0) }.ok()?;
        Ok(Self(file))
    }

    /// Returns the file's bytes.
    pub(crate) fn content(&self) -> Result<alloc::vec::Vec<u8>, Status> {
        /// The position behind the last byte.
        const LAST: u64 = u64::MAX;
        let mut size = 0;
        // SAFETY: the protocol's routines; the buffer has as many bytes as are asked for.
        unsafe {
            let file = &*self.0;
            (file.set_position)(self.0, LAST).ok()?;
            (file.get_position)(self.0, &raw mut size).ok()?;
            (file.set_position)(self.0, 0).ok()?;
            let mut bytes = size as usize;
            let mut content = alloc::vec![0; bytes];
            (file.read)(self.0, &raw mut bytes, content.as_mut_ptr()).ok()?;
            content.truncate(bytes);
            Ok(content)
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: the protocol's routine, which always succeeds (13.5).
        let _ = unsafe { ((*self.0).close)(self.0) };
    }
}
