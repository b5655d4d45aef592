//! Driver objects: loading, entry, unloading.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::mem::size_of;
use core::ptr::null_mut;

use super::irp::IofCompleteRequest;
use crate::ke::{Lock, bugcheck, clock, interrupt, thread};
use crate::ldr::{self, LoadError};
use crate::nt::*;
use crate::ob::{self, Kind};
use crate::verifier::{Violation, balanced, violation};
use crate::{cm, mm, pnp, report, work};

/// The part of a driver object that only the executive sees.
struct Driver {
    object: usize,
    name: String,
    /// Its file in the archive; `None` for the executive's own.
    file: Option<String>,
    id: usize,
}

static DRIVERS: Lock<Vec<Driver>> = Lock::new(Vec::new());
/// Extensions by driver object and client id.
static EXTENSIONS: Lock<BTreeMap<(usize, usize), usize>> = Lock::new(BTreeMap::new());

/// Returns the name of a driver object's service.
pub(crate) fn name_of(driver: *mut DriverObject) -> String {
    let drivers = DRIVERS.lock();
    drivers.iter().find(|d| d.object == driver as usize).map_or_else(|| "?".to_string(), |d| d.name.clone())
}

/// Returns the driver object of a service, if it was loaded.
pub(crate) fn find(service: &str) -> Option<*mut DriverObject> {
    let drivers = DRIVERS.lock();
    drivers.iter().find(|d| d.name.eq_ignore_ascii_case(service)).map(|d| d.object as *mut DriverObject)
}

/// Services whose drivers are loaded, in the order they were.
pub(crate) fn loaded() -> Vec<(String, *mut DriverObject)> {
    DRIVERS.lock().iter().map(|d| (d.name.clone(), d.object as *mut DriverObject)).collect()
}

/// Refuses the majors that a driver does not handle, as their dispatch routine.
pub(crate) unsafe extern "win64" fn invalid_device_request(
    _device: *mut DeviceObject,
    irp: *mut Irp,
) -> NtStatus {
    // SAFETY: the caller keeps `irp` valid for this call.
    unsafe {
        (*irp).io_status = IoStatusBlock::new(status::INVALID_DEVICE_REQUEST, 0);
        IofCompleteRequest(irp, 0);
    }
    status::INVALID_DEVICE_REQUEST
}

/// Returns a string of UTF-16 units for the life of the system.
pub(crate) fn permanent_string(text: &str) -> UnicodeString {
    let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
    let length = ((units.len() - 1) * 2) as u16;
    UnicodeString {
        length,
        maximum_length: length + 2,
        buffer: Box::leak(units.into_boxed_slice()).as_mut_ptr(),
    }
}

unsafe fn create(service: &str, file: Option<&str>) -> *mut DriverObject {
    let driver: *mut DriverObject =
        ob::create_sized(Kind::Driver, size_of::<DriverObject>() + size_of::<DriverExtension>()).cast();
    // SAFETY: `driver` is a new object with room for its extension behind it.
    unsafe {
        let extension: *mut DriverExtension = driver.add(1).cast();
        (*driver).kind = IO_TYPE_DRIVER;
        (*driver).size = size_of::<DriverObject>() as i16;
        (*driver).driver_extension = extension;
        (*driver).driver_name = permanent_string(&format!("\\Driver\\{service}"));
        (*driver).hardware_database =
            Box::leak(Box::new(permanent_string("\\REGISTRY\\MACHINE\\HARDWARE\\DESCRIPTION\\SYSTEM")));
        (*driver).major_function = [Some(invalid_device_request); IRP_MJ_COUNT];
        (*extension).driver_object = driver;
        (*extension).service_key_name = permanent_string(service);
        DRIVERS.lock().push(Driver {
            object: driver as usize,
            name: service.to_string(),
            file: file.map(ToString::to_string),
            id: ldr::driver_id(service),
        });
        driver
    }
}

/// Calls a driver's entry routine; on failure the driver object goes.
unsafe fn enter(service: &str, driver: *mut DriverObject, entry: DriverInitialize) -> NtStatus {
    // SAFETY: the caller keeps `driver` valid for this call.
    unsafe {
        (*driver).driver_init = Some(entry);
        let mut path =
            permanent_string(&format!("\\Registry\\Machine\\System\\CurrentControlSet\\Services\\{service}"));
        let result = balanced("DriverEntry", entry as usize, || entry(driver, &mut path));
        if status::success(result) {
            // IoCreateDevice leaves this set; the I/O manager clears it for devices made in DriverEntry.
            let mut device = (*driver).device_object;
            while !device.is_null() {
                (*device).flags &= !DO_DEVICE_INITIALIZING;
                device = (*device).next_device;
            }
            for slot in &mut (*driver).major_function {
                slot.get_or_insert(invalid_device_request);
            }
        }
        result
    }
}

/// Makes a driver object for a driver that is part of the executive and enters it.
///
/// # Safety
/// `entry` is a driver's entry routine.
pub(crate) unsafe fn create_builtin_driver(service: &str, entry: DriverInitialize) -> *mut DriverObject {
    // SAFETY: by this function's contract, `entry` is a driver's entry routine.
    unsafe {
        let driver = create(service, None);
        let result = enter(service, driver, entry);
        assert!(status::success(result), "built-in driver {service} failed with {result:#x}");
        driver
    }
}

/// Loads a service's driver file and enters it. Reports the outcome. A driver that is loaded already is found
/// again.
///
/// # Safety
/// IRQL `PASSIVE_LEVEL`, at a point where NT would load the driver.
pub(crate) unsafe fn load(service: &str) -> Result<*mut DriverObject, NtStatus> {
    if let Some(driver) = find(service) {
        return Ok(driver);
    }
    let file = cm::service_file(service);
    if let Err(error) = ldr::load(&file) {
        let (status, detail) = match error {
            LoadError::NoFile(name) => (status::NO_SUCH_FILE, format!("file={name}")),
            LoadError::Malformed(what) => {
                (status::INVALID_IMAGE_FORMAT, format!("cause={}", report::Escaped(what.0)))
            }
            LoadError::MissingImport(import) => {
                (status::DRIVER_ENTRYPOINT_NOT_FOUND, format!("missing={import}"))
            }
            LoadError::Dependency(what) => {
                (status::DRIVER_UNABLE_TO_LOAD, format!("dependency={}", report::Escaped(&what)))
            }
        };
        report!("load driver={service} status={status:#x} entered=0 {detail}");
        return Err(status);
    }
    // SAFETY: the caller is at IRQL `PASSIVE_LEVEL`, at a point where NT would load the driver.
    unsafe {
        let driver = create(service, Some(&file));
        let (base, size, entry) =
            ldr::with_image(&file, |i| (i.base, i.size, i.entry)).expect("the image was loaded");
        (*driver).driver_start = base as Pvoid;
        (*driver).driver_size = size as u32;
        // The entry point of a driver image has DriverEntry's signature.
        let entry: DriverInitialize = core::mem::transmute(entry);
        let before = clock::interrupt_time();
        let result = enter(service, driver, entry);
        let time = (clock::interrupt_time() - before) / 10;
        report!("load driver={service} status={result:#x} entered=1 us={time}");
        work::report(service);
        if !status::success(result) {
            forget(driver);
            return Err(result);
        }
        ldr::discard(&file);
        Ok(driver)
    }
}

/// Takes a driver object whose entry failed, or that is being unloaded, out of everything and checks that it
/// left nothing behind.
unsafe fn forget(driver: *mut DriverObject) {
    let (name, file, id) = {
        let mut drivers = DRIVERS.lock();
        let at = drivers.iter().position(|d| d.object == driver as usize).expect("a known driver");
        let driver = drivers.remove(at);
        (driver.name, driver.file, driver.id)
    };
    // SAFETY: the caller keeps `driver` valid for this call.
    unsafe {
        if !(*driver).device_object.is_null() {
            let what = super::device::describe((*driver).device_object);
            violation(
                Violation::ReferenceLeaked,
                format_args!("driver={name} device={what} cause=left-at-unload"),
            );
        }
        let extensions: Vec<(usize, usize)> = EXTENSIONS
            .lock()
            .range((driver as usize, 0)..=(driver as usize, usize::MAX))
            .map(|(&k, _)| k)
            .collect();
        for key in extensions {
            if let Some(extension) = EXTENSIONS.lock().remove(&key) {
                mm::pool::free(extension as Pvoid, None);
            }
        }
        if let Some((start, end)) = file.as_deref().and_then(ldr::range) {
            let left = if interrupt::connected_within(start, end) {
                Some("interrupt")
            } else if bugcheck::callback_within(start, end) {
                Some("bugcheck-callback")
            } else if pnp::registered_within(start, end) {
                Some("pnp-notification")
            } else if ldr::notify::registered_within(start, end) {
                Some("load-image-notification")
            } else if super::reinitialize::is_registered(driver) {
                Some("reinitialization")
            } else if super::work_item::allocated_by(id) > 0 {
                Some("work-item")
            } else if thread::alive_of(id) > 0 {
                Some("thread")
            } else {
                None
            };
            if let Some(what) = left {
                violation(
                    Violation::ReferenceLeaked,
                    format_args!("driver={name} object={what} cause=left-at-unload"),
                );
            }
        }
        mm::pool::check_no_leak(id);
        if ob::pointer_count(driver.cast()) != 1 {
            let count = ob::pointer_count(driver.cast());
            violation(Violation::ReferenceLeaked, format_args!("driver={name} object=driver count={count}"));
        }
        ob::dereference(driver.cast());
        if let Some(file) = file {
            ldr::unload(&file);
        }
    }
}

/// Unloads a driver that has no devices left, as the I/O manager does after the last one was removed. Whether
/// it could be.
///
/// # Safety
/// IRQL `PASSIVE_LEVEL`; nothing of the driver runs.
pub(crate) unsafe fn unload(driver: *mut DriverObject) -> bool {
    // SAFETY: the caller is at IRQL `PASSIVE_LEVEL`; nothing of the driver runs.
    unsafe {
        let Some(unload) = (*driver).driver_unload else { return false };
        let name = name_of(driver);
        balanced("DriverUnload", unload as usize, || unload(driver));
        forget(driver);
        crate::log!("unloaded {name}");
        true
    }
}

/// `IoAllocateDriverObjectExtension`. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `driver` is a driver object, `extension` writable.
pub(crate) unsafe extern "win64" fn IoAllocateDriverObjectExtension(
    driver: *mut DriverObject,
    client: Pvoid,
    size: u32,
    extension: *mut Pvoid,
) -> NtStatus {
    // SAFETY: by this function's contract, `driver` is a driver object, `extension` writable.
    unsafe {
        *extension = null_mut();
        let key = (driver as usize, client as usize);
        if EXTENSIONS.lock().contains_key(&key) {
            return status::OBJECT_NAME_COLLISION;
        }
        let memory =
            mm::pool::allocate(mm::pool::Type::NonPagedNx, size as usize, u32::from_le_bytes(*b"Drve"), 0);
        if memory.is_null() {
            return status::INSUFFICIENT_RESOURCES;
        }
        // The extension is zeroed, unlike pool.
        core::ptr::write_bytes(memory.cast::<u8>(), 0, size as usize);
        EXTENSIONS.lock().insert(key, memory as usize);
        *extension = memory;
        status::SUCCESS
    }
}

/// `IoGetDriverObjectExtension`. IRQL ≤ `DISPATCH_LEVEL`.
pub(crate) extern "win64" fn IoGetDriverObjectExtension(driver: *mut DriverObject, client: Pvoid) -> Pvoid {
    EXTENSIONS.lock().get(&(driver as usize, client as usize)).map_or(null_mut(), |&memory| memory as Pvoid)
}
