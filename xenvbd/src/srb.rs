//! Storport's SRBs and its handle of an adapter: the bottom of this driver, which everything above may use.
//!
//! [`Srb`] is what the crate `vbd` works on; [`crate::miniport`] has the routines that Storport calls.
#![expect(unsafe_code, reason = "Storport's C interface: raw structures")]

use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr::NonNull;
use core::slice;

use scsi::FixedSense;
use vbd::{Answer, Srb as _};
use wdk_sys::storage::{StorPortGetScatterGatherList, StorPortNotification};
use wdk_sys::{
    _SCSI_NOTIFICATION_TYPE, _STOR_PNP_ACTION, PSCSI_REQUEST_BLOCK, SCSI_PNP_REQUEST_BLOCK,
    SCSI_REQUEST_BLOCK, SRB_FLAGS_DISABLE_AUTOSENSE, SRB_FUNCTION_EXECUTE_SCSI, SRB_FUNCTION_FLUSH,
    SRB_FUNCTION_POWER, SRB_FUNCTION_RESET_BUS, SRB_FUNCTION_RESET_DEVICE, SRB_FUNCTION_RESET_LOGICAL_UNIT,
    SRB_FUNCTION_SHUTDOWN, SRB_STATUS_AUTOSENSE_VALID, SRB_STATUS_BUS_RESET, SRB_STATUS_BUSY,
    SRB_STATUS_DATA_OVERRUN, SRB_STATUS_ERROR, SRB_STATUS_INVALID_REQUEST, SRB_STATUS_NO_DEVICE,
    SRB_STATUS_SUCCESS, STOR_DEVICE_CAPABILITIES, STOR_SCATTER_GATHER_ELEMENT, STOR_SCATTER_GATHER_LIST,
    UCHAR, ULONG,
};
use xen::blkif::{self, Element};
use zerocopy::IntoBytes;

use crate::hal::Window;

// Not among the headers' declarations; NT 5.2's storport.sys exports it.
unsafe extern "C" {
    fn StorPortSetDeviceQueueDepth(
        extension: *mut c_void,
        path: UCHAR,
        target: UCHAR,
        lun: UCHAR,
        depth: ULONG,
    ) -> UCHAR;
}

// Not among the headers' declarations (srb.h of the WDK).
const SRB_FUNCTION_PNP: ULONG = 0x25;
const SRB_PNP_FLAGS_ADAPTER_REQUEST: ULONG = 0x1;

/// Requests of a disk that Storport may bring at once, instead of 20 (documentation of
/// PORT_CONFIGURATION_INFORMATION, InitialLunQueueDepth): the most but one that the routine takes.
const QUEUE_DEPTH: ULONG = 254;

/// The request of an SRB.
pub(crate) type Request = vbd::Request<Srb>;
/// SRBs that have ended.
pub(crate) type Ended = vbd::Ended<Srb>;

// What mingw's headers and the overlay give must be what NT has.
const _: () = {
    assert!(size_of::<SCSI_REQUEST_BLOCK>() == 88);
    assert!(size_of::<SCSI_PNP_REQUEST_BLOCK>() == 88);
    assert!(offset_of!(SCSI_PNP_REQUEST_BLOCK, SrbPnPFlags) == 64);
    assert!(size_of::<STOR_DEVICE_CAPABILITIES>() == 8);
    assert!(offset_of!(SCSI_REQUEST_BLOCK, DataTransferLength) == 16);
    assert!(offset_of!(SCSI_REQUEST_BLOCK, DataBuffer) == 24);
    assert!(offset_of!(SCSI_REQUEST_BLOCK, SrbExtension) == 56);
    assert!(offset_of!(SCSI_REQUEST_BLOCK, Cdb) == 72);
    assert!(size_of::<STOR_SCATTER_GATHER_ELEMENT>() == 24);
    assert!(offset_of!(STOR_SCATTER_GATHER_LIST, List) == 16);
};

/// Storport's handle of the adapter: the device extension's address.
#[derive(Clone, Copy)]
pub(crate) struct Port(NonNull<c_void>);

// SAFETY: the handle is only handed back to Storport, which synchronizes its own state.
unsafe impl Send for Port {}
// SAFETY: as above.
unsafe impl Sync for Port {}

impl Port {
    /// Takes Storport's device extension as its handle.
    pub(crate) const fn new(extension: NonNull<c_void>) -> Self {
        Self(extension)
    }

    /// Has Storport look again which units there are. ≤ DISPATCH_LEVEL; the adapter is initialized and not
    /// stopped.
    pub(crate) fn bus_changed(self) {
        // SAFETY: Storport's own handle; this type of notification takes nothing more.
        unsafe { StorPortNotification(_SCSI_NOTIFICATION_TYPE::BusChangeDetected, self.0.as_ptr(), 0) };
    }
}

/// The function of an SRB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    /// A SCSI command.
    ExecuteScsi,
    /// Everything written so far is to reach the medium.
    Flush,
    /// Give up what is pending on a unit, a target or the bus.
    Reset,
    /// A change of power state, which this adapter has no use for.
    Power,
    /// A step in PnP, of the unit at this address, or of the adapter.
    Pnp {
        /// Target id of the unit.
        address: Option<usize>,
    },
    /// Anything else.
    Other,
}

/// A request of Storport's, from the call that brings it until [`Srb::complete`].
pub(crate) struct Srb {
    block: NonNull<SCSI_REQUEST_BLOCK>,
    port: Port,
}

// SAFETY: an SRB belongs to the miniport until it is completed, and to one holder of this value at a time.
unsafe impl Send for Srb {}

impl Srb {
    /// Returns an SRB that Storport brings to the adapter of `port`; `None` for a null pointer.
    ///
    /// # Safety
    /// Storport has just passed `srb` to the miniport, and no other `Srb` of it exists.
    pub(crate) unsafe fn new(srb: PSCSI_REQUEST_BLOCK, port: Port) -> Option<Self> {
        NonNull::new(srb).map(|block| Self { block, port })
    }

    fn block(&self) -> &SCSI_REQUEST_BLOCK {
        // SAFETY: Storport's SRB stays valid until it is completed, which consumes `self`.
        unsafe { self.block.as_ref() }
    }

    /// Returns the SRB's function.
    pub(crate) fn function(&self) -> Function {
        match ULONG::from(self.block().Function) {
            SRB_FUNCTION_EXECUTE_SCSI => Function::ExecuteScsi,
            SRB_FUNCTION_FLUSH | SRB_FUNCTION_SHUTDOWN => Function::Flush,
            SRB_FUNCTION_RESET_BUS | SRB_FUNCTION_RESET_DEVICE | SRB_FUNCTION_RESET_LOGICAL_UNIT => {
                Function::Reset
            }
            SRB_FUNCTION_POWER => Function::Power,
            SRB_FUNCTION_PNP => {
                let adapter = self.pnp().SrbPnPFlags & SRB_PNP_FLAGS_ADAPTER_REQUEST != 0;
                Function::Pnp { address: self.target().filter(|_| !adapter && self.lun() == 0) }
            }
            _ => Function::Other,
        }
    }

    /// Returns a step in PnP as such: SCSI_PNP_REQUEST_BLOCK.
    fn pnp(&self) -> &SCSI_PNP_REQUEST_BLOCK {
        // SAFETY: as in `block`; any bytes of an SRB are valid in this structure, which is as long.
        unsafe { self.block.cast().as_ref() }
    }

    /// Says that the unit may be removed, where the SRB asks what the unit can do. NT ejects no device that says
    /// nothing of the kind.
    pub(crate) fn tell_removable(&mut self) {
        if self.pnp().PnPAction != _STOR_PNP_ACTION::StorQueryCapabilities {
            return;
        }
        let Some(bytes) = self.bytes_mut(size_of::<STOR_DEVICE_CAPABILITIES>()) else { return };
        let place: *mut STOR_DEVICE_CAPABILITIES = bytes.as_mut_ptr().cast();
        // SAFETY: the bytes are as many, and any are valid in this structure of numbers.
        unsafe {
            let mut capabilities = place.read_unaligned();
            capabilities.set_Removable(1);
            place.write_unaligned(capabilities);
        }
    }

    /// Bus and target; this adapter has bus 0 only.
    pub(crate) fn target(&self) -> Option<usize> {
        (self.block().PathId == 0).then_some(self.block().TargetId.into())
    }

    /// Returns the logical unit number.
    pub(crate) fn lun(&self) -> u8 {
        self.block().Lun
    }

    /// Returns true if it resets every target, whichever its address names.
    pub(crate) fn resets_all(&self) -> bool {
        ULONG::from(self.block().Function) == SRB_FUNCTION_RESET_BUS
    }

    /// Has Storport bring as many requests for this SRB's unit at once as it can. Any IRQL.
    pub(crate) fn deepen_queue(&self) {
        let block = self.block();
        // SAFETY: Storport's own handle, and the address of a unit of that adapter.
        let _ = unsafe {
            StorPortSetDeviceQueueDepth(
                self.port.0.as_ptr(),
                block.PathId,
                block.TargetId,
                block.Lun,
                QUEUE_DEPTH,
            )
        };
    }

    /// Returns the command descriptor block.
    pub(crate) fn cdb(&self) -> &[u8] {
        let block = self.block();
        &block.Cdb[..usize::from(block.CdbLength).min(block.Cdb.len())]
    }

    /// Returns the sSystem address of the data buffer of a command that is no read or write, if it has one.
    /// The field means nothing for a read or write: it is null, or an address of the process that asked for
    /// it.
    fn data(&self) -> Option<NonNull<u8>> {
        NonNull::new(self.block().DataBuffer.cast())
    }

    /// Returns the data buffer's first bytes; none where it has fewer, or no system address.
    pub(crate) fn bytes(&self, count: usize) -> Option<&[u8]> {
        let data = self.data().filter(|_| count <= self.data_length() as usize)?;
        // SAFETY: the buffer has `data_length` bytes, mapped as `MapBuffers` asks, while the SRB is pending.
        Some(unsafe { slice::from_raw_parts(data.as_ptr(), count) })
    }

    /// Returns the bytes of [`Srb::bytes`], to be read into or written from.
    pub(crate) fn bytes_mut(&mut self, count: usize) -> Option<&mut [u8]> {
        let data = self.data().filter(|_| count <= self.data_length() as usize)?;
        // SAFETY: as in `bytes`; the buffer is this SRB's, which is borrowed as long.
        Some(unsafe { slice::from_raw_parts_mut(data.as_ptr(), count) })
    }

    /// Copies `reply` into the data buffer, as far as it goes; the number of bytes copied.
    pub(crate) fn reply(&mut self, reply: &[u8]) -> u32 {
        let Some(data) = self.data() else { return 0 };
        let count = reply.len().min(self.data_length() as usize);
        // SAFETY: the buffer has `data_length` bytes, mapped as `MapBuffers` asks; `reply` is this driver's
        // own.
        unsafe { reply.as_ptr().copy_to_nonoverlapping(data.as_ptr(), count) };
        count as u32
    }
}

// SAFETY: Storport leaves an SRB, its extension (of the size of a request, from pool), its scatter-gather list and
// its buffer alone until it is completed, which consumes the only value that stands for it.
unsafe impl vbd::Srb for Srb {
    type Window = Window;
    type List = ScatterList;

    fn data_length(&self) -> u32 {
        self.block().DataTransferLength
    }

    fn parameters(&self) -> Option<NonNull<u8>> {
        self.data()
    }

    fn scatter_list(&self) -> Option<ScatterList> {
        // SAFETY: the SRB is pending, and the adapter is a physical one that needs physical addresses.
        let list = unsafe { StorPortGetScatterGatherList(self.port.0.as_ptr(), self.block.as_ptr()) };
        NonNull::new(list.cast()).map(ScatterList)
    }

    fn extension(&self) -> Option<NonNull<vbd::Request<Self>>> {
        NonNull::new(self.block().SrbExtension.cast())
    }

    fn complete(mut self, answer: Answer) {
        // SAFETY: as in `block`; the reference ends before Storport is called.
        let block = unsafe { self.block.as_mut() };
        // Of another function the length is not valid.
        let is_command = ULONG::from(block.Function) == SRB_FUNCTION_EXECUTE_SCSI;
        let (srb_status, scsi_status) = match answer {
            Answer::Done { transferred } if is_command && transferred < block.DataTransferLength => {
                // An underrun, too, is reported by this status (documentation of SCSI_REQUEST_BLOCK).
                block.DataTransferLength = transferred;
                (SRB_STATUS_DATA_OVERRUN, scsi::status::GOOD)
            }
            Answer::Done { .. } => (SRB_STATUS_SUCCESS, scsi::status::GOOD),
            Answer::Sense(sense) => {
                block.DataTransferLength = 0;
                let valid = if put_sense(block, &sense.fixed()) { SRB_STATUS_AUTOSENSE_VALID } else { 0 };
                (SRB_STATUS_ERROR | valid, scsi::status::CHECK_CONDITION)
            }
            Answer::NoDevice => (SRB_STATUS_NO_DEVICE, scsi::status::GOOD),
            Answer::InvalidRequest => (SRB_STATUS_INVALID_REQUEST, scsi::status::GOOD),
            Answer::Reset => (SRB_STATUS_BUS_RESET, scsi::status::GOOD),
            Answer::Busy => (SRB_STATUS_BUSY, scsi::status::GOOD),
            Answer::Failed => (SRB_STATUS_ERROR, scsi::status::GOOD),
        };
        block.SrbStatus = srb_status as UCHAR;
        block.ScsiStatus = scsi_status;
        // SAFETY: the SRB is pending and completed once, as `self` is consumed; no queue lock is held.
        unsafe {
            StorPortNotification(
                _SCSI_NOTIFICATION_TYPE::RequestComplete,
                self.port.0.as_ptr(),
                self.block.as_ptr(),
            );
        }
    }
}

/// Copies sense data into the SRB's buffer; whether there is one.
fn put_sense(block: &mut SCSI_REQUEST_BLOCK, sense: &FixedSense) -> bool {
    let count = usize::from(block.SenseInfoBufferLength).min(size_of::<FixedSense>());
    let Some(buffer) = NonNull::new(block.SenseInfoBuffer.cast::<u8>()) else { return false };
    if count == 0 || block.SrbFlags & SRB_FLAGS_DISABLE_AUTOSENSE != 0 {
        return false;
    }
    // SAFETY: the buffer has `SenseInfoBufferLength` bytes of system memory.
    unsafe { sense.as_bytes().as_ptr().copy_to_nonoverlapping(buffer.as_ptr(), count) };
    true
}

/// Storport's scatter-gather list of one SRB, valid while the SRB is pending.
#[derive(Clone, Copy)]
pub(crate) struct ScatterList(NonNull<STOR_SCATTER_GATHER_LIST>);

// SAFETY: read only; it belongs to an SRB, which moves between processors as a whole.
unsafe impl Send for ScatterList {}

impl ScatterList {
    fn elements(&self) -> &[STOR_SCATTER_GATHER_ELEMENT] {
        // SAFETY: Storport's list is valid while the SRB is pending, and has `NumberOfElements` elements
        // behind its header.
        unsafe {
            let count = (*self.0.as_ptr()).NumberOfElements as usize;
            slice::from_raw_parts((&raw const (*self.0.as_ptr()).List).cast(), count)
        }
    }
}

impl blkif::ScatterList for ScatterList {
    fn element(&self, index: usize) -> Option<Element> {
        let element = self.elements().get(index)?;
        // SAFETY: every part of the union is the same 64 bits.
        let address = unsafe { element.PhysicalAddress.QuadPart } as u64;
        Some(Element { address, length: element.Length })
    }
}
