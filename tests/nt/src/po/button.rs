//! System buttons: what NT's power manager does with each device of that class (poclass.h), and ACPI's own
//! power button.
//!
//! The power manager opens a button as soon as it hears of it, asks for its capabilities, and from then on
//! always has a request for the next event with its driver. When the button goes it cancels that request and
//! closes the file. The power policy here is a server's: the power button shuts the system down.

use alloc::string::{String, ToString};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use crate::hal::port;
use crate::io::{self, irp};
use crate::ke::{self, Lock, thread};
use crate::nt::*;
use crate::pnp;
use crate::{ob, report};

/// `IOCTL_GET_SYS_BUTTON_CAPS`.
const GET_CAPS: u32 = 0x0029_4140;
/// `IOCTL_GET_SYS_BUTTON_EVENT`.
const GET_EVENT: u32 = 0x0029_4144;
/// `SYS_BUTTON_POWER`.
const POWER: u32 = 1;

/// PM1a's status register as hvmloader and SeaBIOS place it (ACPI, "PM1 Status Registers").
const PM1_STATUS: u16 = 0xB000;
/// Bit of the power button in PM1a's status register.
const POWER_BUTTON: u16 = 1 << 8;

const PRIORITY: i32 = 13;

/// The one button, by its link, or none.
static LINK: Lock<Option<String>> = Lock::new(None);
/// Its file and the request for events, while there is one.
static FILE: AtomicUsize = AtomicUsize::new(0);
static REQUEST: AtomicUsize = AtomicUsize::new(0);
/// The driver has the request.
static ASKED: AtomicBool = AtomicBool::new(false);
/// The thread that asks is to end, and has ended.
static CLOSING: AtomicBool = AtomicBool::new(false);
static ENDED: AtomicBool = AtomicBool::new(false);
/// Number of times that the power button was pressed.
static PRESSED: AtomicU32 = AtomicU32::new(0);

/// Watches a button whose interface was enabled. PASSIVE_LEVEL, on the event worker.
///
/// # Safety
/// The device objects stay valid while their file is open.
pub(crate) unsafe fn arrived(link: &str) {
    if LINK.lock().replace(link.to_string()).is_some() {
        ke::panicked(format_args!("a second power button: {link}"));
    }
    let units: alloc::vec::Vec<u16> = link.encode_utf16().collect();
    let length = (units.len() * 2) as u16;
    let mut name = UnicodeString { length, maximum_length: length, buffer: units.as_ptr().cast_mut() };
    let (mut file, mut device) = (null_mut(), null_mut());
    // SAFETY: by this function's contract, the device objects stay valid while their file is open.
    unsafe {
        let opened = io::IoGetDeviceObjectPointer(&raw mut name, 1, &raw mut file, &raw mut device);
        if !status::success(opened) {
            report!("button opened={opened:#x}");
            return;
        }
        let mut capabilities = 0_u32;
        let mut done = Kevent::unsignaled();
        done.init();
        let mut result = IoStatusBlock::new(status::SUCCESS, 0);
        let request = io::IoBuildDeviceIoControlRequest(
            GET_CAPS,
            device,
            null_mut(),
            0,
            (&raw mut capabilities).cast(),
            4,
            FALSE,
            &raw mut done,
            &raw mut result,
        );
        let mut answer = io::IofCallDriver(device, request);
        if answer == status::PENDING {
            wait(&raw mut done);
            answer = result.status;
        }
        report!("button caps={capabilities:#x} status={answer:#x}");
        if !status::success(answer) {
            ob::dereference(file.cast());
            return;
        }
        FILE.store(file as usize, Ordering::Release);
        CLOSING.store(false, Ordering::Release);
        ENDED.store(false, Ordering::Release);
        let request = io::IoAllocateIrp((*device).stack_size, FALSE);
        REQUEST.store(request as usize, Ordering::Release);
        let watcher = thread::create(watch, device.cast(), PRIORITY, 0).expect("the button's thread");
        ob::dereference(watcher.cast());
    }
}

/// Forgets a button whose interface was disabled: the request is cancelled and the file closed.
/// PASSIVE_LEVEL.
///
/// # Safety
/// As [`arrived`].
pub(crate) unsafe fn gone(link: &str) {
    let known = LINK.lock().take_if(|known| known == link).is_some();
    let file: *mut FileObject = FILE.swap(0, Ordering::AcqRel) as *mut FileObject;
    if !known || file.is_null() {
        return;
    }
    CLOSING.store(true, Ordering::Release);
    let request = REQUEST.load(Ordering::Acquire) as *mut Irp;
    // The request is this module's until it is freed below. It is cancelled whenever the driver has it.
    let mut cancelled = false;
    // SAFETY: the caller keeps the contract of [`arrived`].
    unsafe {
        while !ENDED.load(Ordering::Acquire) {
            cancelled |= ASKED.load(Ordering::Acquire) && io::IoCancelIrp(request) != FALSE;
            ke::delay(20);
        }
        REQUEST.store(0, Ordering::Release);
        io::IoFreeIrp(request);
        ob::dereference(file.cast());
    }
    report!("button closed cancelled={}", u8::from(cancelled));
}

/// Closes the button, and opens it again after `meanwhile`, as if its device had been asked to go and had stayed.
/// PASSIVE_LEVEL.
pub(crate) fn reopen(meanwhile: impl Fn()) {
    let links = pnp::enabled_interfaces(&GUID_DEVICE_SYS_BUTTON);
    for link in links {
        // SAFETY: the interface is enabled, and the event worker has nothing to do.
        unsafe {
            gone(&link);
            meanwhile();
            arrived(&link);
        }
    }
}

/// Returns true if a driver has the request for the next event.
pub(crate) fn is_watched() -> bool {
    ASKED.load(Ordering::Acquire)
}

/// Returns true if a button of a driver's was pressed.
pub(crate) fn is_pressed() -> bool {
    PRESSED.load(Ordering::Acquire) != 0
}

/// Returns the number of times that a button of a driver's was pressed.
pub(crate) fn presses() -> u32 {
    PRESSED.load(Ordering::Acquire)
}

/// Returns true if ACPI's power button was pressed, and forgets it.
pub(crate) fn acpi_is_pressed() -> bool {
    // SAFETY: ACPI's status register; writing a bit clears it, and nobody else looks at this one.
    unsafe {
        let pressed = port::inw(PM1_STATUS) & POWER_BUTTON != 0;
        if pressed {
            port::outw(PM1_STATUS, POWER_BUTTON);
        }
        pressed
    }
}

/// Runs the thread that always has a request for the next event with the driver.
unsafe extern "win64" fn watch(device: Pvoid) {
    let device: *mut DeviceObject = device.cast();
    let request = REQUEST.load(Ordering::Acquire) as *mut Irp;
    let mut event = 0_u32;
    // SAFETY: the caller keeps `device` valid for this call.
    unsafe {
        loop {
            let mut done = Kevent::unsignaled();
            done.init();
            irp::IoReuseIrp(request, status::NOT_SUPPORTED);
            (*request).system_buffer = (&raw mut event).cast();
            let location = next_stack_location(request);
            (*location).major_function = IRP_MJ_DEVICE_CONTROL;
            (*location).parameters.device_io_control = DeviceIoControl {
                output_buffer_length: 4,
                output_pad: 0,
                input_buffer_length: 0,
                input_pad: 0,
                io_control_code: GET_EVENT,
                code_pad: 0,
                type3_input_buffer: null_mut(),
            };
            set_completion_routine(request, answered, (&raw mut done).cast());
            event = 0;
            let answer = io::IofCallDriver(device, request);
            ASKED.store(true, Ordering::Release);
            if answer == status::PENDING {
                wait(&raw mut done);
            }
            ASKED.store(false, Ordering::Release);
            let result = (*request).io_status;
            report!("button event={event:#x} status={:#x} bytes={}", result.status, result.information);
            if !status::success(result.status) || CLOSING.load(Ordering::Acquire) {
                break;
            }
            if result.information == 4 && event & POWER != 0 {
                PRESSED.fetch_add(1, Ordering::AcqRel);
            }
        }
    }
    ENDED.store(true, Ordering::Release);
}

unsafe extern "win64" fn answered(_device: *mut DeviceObject, _irp: *mut Irp, done: Pvoid) -> NtStatus {
    // SAFETY: the caller keeps `done` valid for this call.
    unsafe {
        ke::KeSetEvent(done.cast(), 0, FALSE);
    }
    status::MORE_PROCESSING_REQUIRED
}

unsafe fn wait(event: *mut Kevent) {
    // SAFETY: the caller keeps `event` valid for this call.
    unsafe {
        ke::KeWaitForSingleObject(event.cast(), EXECUTIVE, KERNEL_MODE, FALSE, core::ptr::null());
    }
}
