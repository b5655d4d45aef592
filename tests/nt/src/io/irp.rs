//! Allocating, sending and completing IRPs.

use core::mem::size_of;
use core::ptr::{null_mut, write_bytes};

use super::driver;
use crate::ke::thread;
use crate::ldr::gate;
use crate::mm::{IoFreeMdl, MmUnlockPages, pool};
use crate::nt::*;
use crate::verifier::{balanced, irp as watch};

/// IRPs of pool of their own: `IoAllocateIrp` memory is the executive's, so that its drivers' leaks are
/// reported as IRPs, not as pool.
const POOL_TAG: u32 = u32::from_le_bytes(*b"Irp ");

const fn packet_size(stack: i8) -> usize {
    size_of::<Irp>() + stack as usize * size_of::<IoStackLocation>()
}

/// Address of the stack location of that number, 1 being the lowest.
unsafe fn location_at(irp: *mut Irp, number: usize) -> *mut IoStackLocation {
    // SAFETY: the caller keeps `irp` valid for this call.
    unsafe { irp.add(1).cast::<IoStackLocation>().add(number - 1) }
}

/// Forgets what a location held. The verifier's mark in place of its major function shows a sender that does
/// not set it up.
unsafe fn clear(location: *mut IoStackLocation) {
    // SAFETY: the caller keeps `location` valid for this call.
    unsafe {
        write_bytes(location, 0, 1);
        (*location).major_function = watch::UNUSED_MAJOR;
    }
}

/// Makes fresh memory an IRP.
unsafe fn initialize(irp: *mut Irp, size: u16, stack: i8) {
    // SAFETY: the caller keeps `irp` valid for this call.
    unsafe {
        write_bytes(irp.cast::<u8>(), 0, usize::from(size));
        (*irp).kind = IO_TYPE_IRP;
        (*irp).size = size;
        (*irp).stack_count = stack;
        (*irp).current_location = stack + 1;
        (*irp).current_stack_location = location_at(irp, stack as usize + 1);
        ListEntry::init(&raw mut (*irp).thread_list_entry);
        for number in 1..=stack as usize {
            clear(location_at(irp, number));
        }
    }
}

pub(crate) unsafe fn allocate(stack: i8, driver: usize) -> *mut Irp {
    let size = packet_size(stack);
    let irp: *mut Irp = pool::allocate(pool::Type::NonPaged, size, POOL_TAG, 0).cast();
    // SAFETY: `irp` is new and has room for `stack` locations.
    unsafe {
        if !irp.is_null() {
            initialize(irp, size as u16, stack);
            watch::allocated(irp, stack, driver);
        }
    }
    irp
}

/// `IoAllocateIrp`. IRQL ≤ `DISPATCH_LEVEL`.
pub(crate) extern "win64" fn IoAllocateIrp(stack: i8, _charge_quota: Boolean) -> *mut Irp {
    // SAFETY: the packet is fresh.
    unsafe { allocate(stack, gate::caller()) }
}

/// `IoInitializeIrp`: for memory of the caller's own. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `irp` has `size` writable bytes, enough for `stack` locations.
pub(crate) unsafe extern "win64" fn IoInitializeIrp(irp: *mut Irp, size: u16, stack: i8) {
    // SAFETY: by this function's contract, `irp` has `size` writable bytes, enough for `stack` locations.
    unsafe {
        initialize(irp, size, stack);
    }
    watch::allocated(irp, stack, 0);
}

/// `IoReuseIrp`. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `irp` was allocated by [`IoAllocateIrp`] and is the caller's.
pub(crate) unsafe extern "win64" fn IoReuseIrp(irp: *mut Irp, status: NtStatus) {
    // SAFETY: by this function's contract, `irp` was allocated by [`IoAllocateIrp`] and is the caller's.
    unsafe {
        let (size, stack, flags) = ((*irp).size, (*irp).stack_count, (*irp).allocation_flags);
        initialize(irp, size, stack);
        (*irp).allocation_flags = flags;
        (*irp).io_status.status = status;
        watch::reused(irp);
    }
}

/// `IoFreeIrp`. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `irp` came from [`IoAllocateIrp`] and is not used any more.
pub(crate) unsafe extern "win64" fn IoFreeIrp(irp: *mut Irp) {
    watch::freed(irp);
    // SAFETY: by this function's contract, `irp` came from [`IoAllocateIrp`] and is not used any more.
    unsafe {
        pool::free(irp.cast(), Some(POOL_TAG));
    }
}

/// Sends an IRP to a device: `IofCallDriver`. IRQL as the major function says, ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `irp` is the caller's, its next location set up; `device` is a device object.
pub(crate) unsafe extern "win64" fn IofCallDriver(device: *mut DeviceObject, irp: *mut Irp) -> NtStatus {
    // SAFETY: by this function's contract, `irp` is the caller's, its next location set up; `device` is a
    // device object.
    unsafe {
        (*irp).current_location -= 1;
        (*irp).current_stack_location = (*irp).current_stack_location.sub(1);
        let location = (*irp).current_stack_location;
        let sent = watch::sending(irp, device);
        (*location).device_object = device;
        let driver = (*device).driver_object;
        let dispatch = (*driver).major_function[usize::from((*location).major_function)];
        let dispatch = dispatch.unwrap_or(driver::invalid_device_request);
        let name = driver::name_of(driver);
        let routine = dispatch as usize;
        let result = balanced("dispatch", routine, || dispatch(device, irp));
        watch::returned(sent, &name, routine, result);
        result
    }
}

/// Completes an IRP: `IofCompleteRequest`. IRQL ≤ `DISPATCH_LEVEL`.
///
/// # Safety
/// `irp` is the caller's and is not touched by it afterwards.
pub(crate) unsafe extern "win64" fn IofCompleteRequest(irp: *mut Irp, _boost: i8) {
    // SAFETY: by this function's contract, `irp` is the caller's and is not touched by it afterwards.
    unsafe {
        watch::completing(irp);
        // From the location of the one that completes upwards. A routine found in a location belongs to the
        // driver of the location above it.
        while (*irp).current_location <= (*irp).stack_count {
            let location = (*irp).current_stack_location;
            let (control, routine, context) =
                ((*location).control, (*location).completion_routine, (*location).context);
            let pending = control & SL_PENDING_RETURNED;
            (*irp).pending_returned = Boolean::from(pending != 0);
            watch::passing(irp, (*irp).current_location, pending != 0);
            clear(location);
            (*irp).current_location += 1;
            (*irp).current_stack_location = location.add(1);
            let above = (*irp).current_location <= (*irp).stack_count;
            let status = (*irp).io_status.status;
            let wanted = if (*irp).cancel != FALSE && control & SL_INVOKE_ON_CANCEL != 0 {
                true
            } else if status::success(status) {
                control & SL_INVOKE_ON_SUCCESS != 0
            } else {
                control & SL_INVOKE_ON_ERROR != 0
            };
            match routine.filter(|_| wanted) {
                Some(routine) => {
                    let device =
                        if above { (*(*irp).current_stack_location).device_object } else { null_mut() };
                    // A routine that keeps the IRP may free it or send it on before it returns.
                    watch::kept(irp);
                    let verdict = balanced("completion", routine as usize, || routine(device, irp, context));
                    if verdict == status::MORE_PROCESSING_REQUIRED {
                        return;
                    }
                    watch::carried(irp, routine as usize);
                }
                None if (*irp).pending_returned != FALSE && above => mark_irp_pending(irp),
                None => {}
            }
        }
        watch::completed(irp);
        finish(irp);
    }
}

/// Finishes an IRP that the I/O manager built, once completed: copies the output, frees the buffers, tells
/// the waiter, frees the IRP.
unsafe fn finish(irp: *mut Irp) {
    // SAFETY: the caller keeps `irp` valid for this call.
    unsafe {
        let status = (*irp).io_status;
        if (*irp).flags & IRP_BUFFERED_IO != 0 {
            // Warnings return data too, errors do not (NT_ERROR is severity 3).
            let error = (status.status as u32) >> 30 == 3;
            if (*irp).flags & IRP_INPUT_OPERATION != 0 && !error {
                core::ptr::copy_nonoverlapping(
                    (*irp).system_buffer.cast::<u8>(),
                    (*irp).user_buffer.cast(),
                    status.information,
                );
            }
            if (*irp).flags & IRP_DEALLOCATE_BUFFER != 0 {
                pool::free((*irp).system_buffer, Some(BUFFER_TAG));
            }
        }
        let mut mdl = (*irp).mdl_address;
        while !mdl.is_null() {
            let next = (*mdl).next;
            if (*mdl).mdl_flags & MDL_PAGES_LOCKED != 0 {
                MmUnlockPages(mdl);
            }
            IoFreeMdl(mdl);
            mdl = next;
        }
        if !(*irp).user_iosb.is_null() {
            *(*irp).user_iosb = status;
        }
        let event = (*irp).user_event;
        IoFreeIrp(irp);
        if !event.is_null() {
            crate::ke::KeSetEvent(event, 0, FALSE);
        }
    }
}

const BUFFER_TAG: u32 = u32::from_le_bytes(*b"IoSB");

/// `METHOD_BUFFERED` and its siblings: the low two bits of a control code.
const METHOD_BUFFERED: u32 = 0;
const METHOD_NEITHER: u32 = 3;

unsafe fn attach_buffered(irp: *mut Irp, input: &[u8], output: Pvoid, size: usize, read_back: bool) -> bool {
    let buffer = pool::allocate(pool::Type::NonPaged, size, BUFFER_TAG, 0);
    if buffer.is_null() {
        return false;
    }
    // SAFETY: the caller keeps `irp` and `output` valid for this call.
    unsafe {
        core::ptr::copy_nonoverlapping(input.as_ptr(), buffer.cast(), input.len());
        (*irp).system_buffer = buffer;
        (*irp).user_buffer = output;
        (*irp).flags |= IRP_BUFFERED_IO | IRP_DEALLOCATE_BUFFER;
        if read_back {
            (*irp).flags |= IRP_INPUT_OPERATION;
        }
    }
    true
}

unsafe fn bytes<'a>(pointer: Pvoid, length: u32) -> &'a [u8] {
    // SAFETY: the caller keeps `pointer` valid for this call.
    unsafe {
        if pointer.is_null() { &[] } else { core::slice::from_raw_parts(pointer.cast(), length as usize) }
    }
}

/// `IoBuildDeviceIoControlRequest`. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// The buffers, the event and the status block stay valid until the IRP is completed.
pub(crate) unsafe extern "win64" fn IoBuildDeviceIoControlRequest(
    code: u32,
    device: *mut DeviceObject,
    input: Pvoid,
    input_length: u32,
    output: Pvoid,
    output_length: u32,
    internal: Boolean,
    event: *mut Kevent,
    iosb: *mut IoStatusBlock,
) -> *mut Irp {
    // SAFETY: by this function's contract, the buffers, the event and the status block stay valid until the
    // IRP is completed.
    unsafe {
        let irp = allocate((*device).stack_size, gate::caller());
        if irp.is_null() {
            return irp;
        }
        let location = next_stack_location(irp);
        (*location).major_function =
            if internal != FALSE { IRP_MJ_INTERNAL_DEVICE_CONTROL } else { IRP_MJ_DEVICE_CONTROL };
        (*location).parameters.device_io_control = DeviceIoControl {
            output_buffer_length: output_length,
            output_pad: 0,
            input_buffer_length: input_length,
            input_pad: 0,
            io_control_code: code,
            code_pad: 0,
            type3_input_buffer: null_mut(),
        };
        let ok = match code & 3 {
            METHOD_BUFFERED => {
                let size = input_length.max(output_length) as usize;
                size == 0 || attach_buffered(irp, bytes(input, input_length), output, size, !output.is_null())
            }
            METHOD_NEITHER => {
                (*location).parameters.device_io_control.type3_input_buffer = input;
                (*irp).user_buffer = output;
                true
            }
            _ => {
                let ok = input.is_null()
                    || attach_buffered(
                        irp,
                        bytes(input, input_length),
                        null_mut(),
                        input_length as usize,
                        false,
                    );
                ok && (output.is_null() || attach_direct(irp, output, output_length))
            }
        };
        if !ok {
            IoFreeIrp(irp);
            return null_mut();
        }
        hand_over(irp, event, iosb);
        irp
    }
}

unsafe fn attach_direct(irp: *mut Irp, buffer: Pvoid, length: u32) -> bool {
    // SAFETY: the caller keeps `irp` and `buffer` valid for this call.
    unsafe {
        let mdl = crate::mm::IoAllocateMdl(buffer, length, FALSE, FALSE, irp);
        if mdl.is_null() {
            return false;
        }
        crate::mm::MmProbeAndLockPages(mdl, KERNEL_MODE, 0);
        true
    }
}

unsafe fn hand_over(irp: *mut Irp, event: *mut Kevent, iosb: *mut IoStatusBlock) {
    // SAFETY: the caller keeps `irp`, `event` and `iosb` valid for this call.
    unsafe {
        (*irp).user_event = event;
        (*irp).user_iosb = iosb;
        (*irp).thread = thread::current().cast();
    }
}

/// `IoBuildSynchronousFsdRequest`: read, write, flush, shutdown or PnP. IRQL `PASSIVE_LEVEL`.
///
/// # Safety
/// As [`IoBuildDeviceIoControlRequest`].
pub(crate) unsafe extern "win64" fn IoBuildSynchronousFsdRequest(
    major: u32,
    device: *mut DeviceObject,
    buffer: Pvoid,
    length: u32,
    offset: *const LargeInteger,
    event: *mut Kevent,
    iosb: *mut IoStatusBlock,
) -> *mut Irp {
    // SAFETY: the caller keeps the contract of [`IoBuildDeviceIoControlRequest`].
    unsafe {
        let irp = IoBuildAsynchronousFsdRequest(major, device, buffer, length, offset, iosb);
        if !irp.is_null() {
            hand_over(irp, event, iosb);
        }
        irp
    }
}

/// `IoBuildAsynchronousFsdRequest`. IRQL ≤ `APC_LEVEL`. Its caller must free the IRP in a completion routine.
///
/// # Safety
/// As [`IoBuildDeviceIoControlRequest`].
pub(crate) unsafe extern "win64" fn IoBuildAsynchronousFsdRequest(
    major: u32,
    device: *mut DeviceObject,
    buffer: Pvoid,
    length: u32,
    offset: *const LargeInteger,
    iosb: *mut IoStatusBlock,
) -> *mut Irp {
    // SAFETY: the caller keeps the contract of [`IoBuildDeviceIoControlRequest`].
    unsafe {
        let irp = allocate((*device).stack_size, gate::caller());
        if irp.is_null() {
            return irp;
        }
        let major = major as u8;
        let location = next_stack_location(irp);
        (*location).major_function = major;
        let (reading, writing) = (major == IRP_MJ_READ, major == IRP_MJ_WRITE);
        if reading || writing {
            let flags = (*device).flags;
            let ok = if flags & DO_BUFFERED_IO != 0 {
                let input = if writing { bytes(buffer, length) } else { &[] };
                attach_buffered(irp, input, buffer, length as usize, reading)
            } else if flags & DO_DIRECT_IO != 0 {
                attach_direct(irp, buffer, length)
            } else {
                (*irp).user_buffer = buffer;
                true
            };
            if !ok {
                IoFreeIrp(irp);
                return null_mut();
            }
            (*location).parameters.read = ReadWrite {
                length,
                length_pad: 0,
                key: 0,
                key_pad: 0,
                byte_offset: if offset.is_null() { 0 } else { *offset },
            };
        }
        (*irp).user_iosb = iosb;
        irp
    }
}

/// A request of the executive's own, sent to a device's stack and waited for. IRQL `PASSIVE_LEVEL`.
pub(crate) struct Request {
    /// The status to begin with.
    pub status: NtStatus,
    /// `IoStatus.Information` to begin with.
    pub information: usize,
    pub major: u8,
    pub minor: u8,
    pub parameters: Parameters,
    pub file: *mut FileObject,
}

impl Request {
    /// Returns a request without parameters.
    pub(crate) const fn new(major: u8, minor: u8) -> Self {
        Self {
            status: status::NOT_SUPPORTED,
            information: 0,
            major,
            minor,
            parameters: Parameters { others: [0; 4] },
            file: null_mut(),
        }
    }

    /// Sends it to the top of the stack that `device` is part of, and waits. Whether it reached the bottom
    /// device is told beside the result. A power request comes at DISPATCH_LEVEL where the device's flags do
    /// not say that it must not.
    ///
    /// # Safety
    /// `device` is a device object; the parameters are valid for the request.
    pub(crate) unsafe fn send(&self, device: *mut DeviceObject) -> (IoStatusBlock, bool) {
        // SAFETY: by this function's contract, `device` is a device object; the parameters are valid for
        // the request.
        unsafe {
            let top = super::device::top_of(device);
            let irp = allocate((*top).stack_size, 0);
            assert!(!irp.is_null(), "out of memory for an IRP");
            (*irp).io_status = IoStatusBlock::new(self.status, self.information);
            (*irp).thread = thread::current().cast();
            let location = next_stack_location(irp);
            (*location).major_function = self.major;
            (*location).minor_function = self.minor;
            (*location).parameters = self.parameters;
            (*location).file_object = self.file;
            let mut done = Kevent::unsignaled();
            done.init();
            set_completion_routine(irp, signal_and_keep, (&raw mut done).cast());
            let level = self.major == IRP_MJ_POWER && (*top).flags & DO_POWER_PAGABLE == 0;
            let before = level.then(|| crate::ke::irql::raise(DISPATCH_LEVEL));
            let answer = IofCallDriver(top, irp);
            if let Some(before) = before {
                crate::ke::irql::lower(before);
            }
            if answer == status::PENDING {
                crate::ke::KeWaitForSingleObject(
                    (&raw mut done).cast(),
                    EXECUTIVE,
                    KERNEL_MODE,
                    FALSE,
                    core::ptr::null(),
                );
            }
            let result = ((*irp).io_status, watch::reached_bottom(irp));
            IoFreeIrp(irp);
            result
        }
    }
}

unsafe extern "win64" fn signal_and_keep(
    _device: *mut DeviceObject,
    _irp: *mut Irp,
    context: Pvoid,
) -> NtStatus {
    // SAFETY: the caller keeps `context` valid for this call.
    unsafe {
        crate::ke::KeSetEvent(context.cast(), 0, FALSE);
    }
    status::MORE_PROCESSING_REQUIRED
}
