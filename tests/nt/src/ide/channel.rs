//! A channel: one or two drives, and the thread that works off their requests.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::ata::{Error, MAX_SECTORS, Registers, Transfer};
use super::bus_master::BusMaster;
use super::drive::{self, Drive};
use crate::ke::{self, Lock};
use crate::nt::*;
use crate::storage::sense;
use crate::{io, ob, ps};

/// The reason why a packet was not carried out.
pub(super) enum PacketError {
    /// The drive refused it: its sense data.
    Refused([u8; sense::LENGTH]),
    /// It never reached the drive, or the drive fell silent.
    Channel(Error),
}

/// A channel of a controller.
pub(super) struct Channel {
    /// 0 for the primary, 1 for the secondary channel.
    pub number: u8,
    registers: Registers,
    bus_master: Option<BusMaster>,
    queue: Lock<VecDeque<(*const Drive, usize)>>,
    /// Signalled when there is something in the queue, or the thread is to end.
    wake: Kevent,
    ending: AtomicBool,
    thread: Pvoid,
}

// SAFETY: registers and bus master are used by the channel's thread alone once it runs; the queue has its
// lock.
unsafe impl Send for Channel {}
// SAFETY: as above.
unsafe impl Sync for Channel {}

impl Channel {
    /// Makes channel `number`; `bus_master` is the I/O port of its bus-master registers.
    pub(super) fn new(number: u8, bus_master: Option<u16>) -> Box<Self> {
        // SAFETY: a KEVENT of zeros is what KeInitializeEvent expects.
        let wake = unsafe { core::mem::zeroed() };
        let mut this = Box::new(Self {
            number,
            registers: Registers::new(number),
            bus_master: bus_master.and_then(BusMaster::new),
            queue: Lock::new(VecDeque::new()),
            wake,
            ending: AtomicBool::new(false),
            thread: null_mut(),
        });
        // SAFETY: the box keeps the event where it is.
        unsafe { ke::KeInitializeEvent(&raw mut this.wake, SYNCHRONIZATION_EVENT.into(), FALSE) };
        this
    }

    /// Looks which drives there are. PASSIVE_LEVEL, before [`start`](Self::start).
    ///
    /// # Safety
    /// The controller decodes its ports and nobody else uses them.
    pub(super) unsafe fn identify(&mut self) -> [Option<super::identify::Identify>; 2] {
        // SAFETY: by this function's contract, the controller decodes its ports and nobody else uses them.
        unsafe { [0, 1].map(|drive| self.registers.identify(drive)) }
    }

    /// Starts the channel's thread. PASSIVE_LEVEL.
    ///
    /// # Safety
    /// The channel must stay where it is until [`end`](Self::end).
    pub(super) unsafe fn start(&mut self) -> NtStatus {
        let mut handle = null_mut();
        let context = core::ptr::from_mut(self).cast();
        // SAFETY: by this function's contract, the channel must stay where it is until [`end`](Self::end).
        unsafe {
            let created = ps::PsCreateSystemThread(
                &raw mut handle,
                0,
                null_mut(),
                null_mut(),
                null_mut(),
                work,
                context,
            );
            if status::success(created) {
                let found = ob::ObReferenceObjectByHandle(
                    handle,
                    0,
                    null_mut(),
                    KERNEL_MODE,
                    &raw mut self.thread,
                    null_mut(),
                );
                ob::ZwClose(handle);
                return found;
            }
            created
        }
    }

    /// Ends the thread when it has worked off what is queued. PASSIVE_LEVEL.
    ///
    /// # Safety
    /// No new requests come.
    pub(super) unsafe fn end(&mut self) {
        if self.thread.is_null() {
            return;
        }
        self.ending.store(true, Ordering::Release);
        // SAFETY: by this function's contract, no new requests come.
        unsafe {
            ke::KeSetEvent(&raw mut self.wake, 0, FALSE);
            ke::KeWaitForSingleObject(self.thread, EXECUTIVE, KERNEL_MODE, FALSE, null_mut());
            ob::ObfDereferenceObject(self.thread);
        }
        self.thread = null_mut();
    }

    /// Queues an IRP that carries an SRB; it is marked pending. IRQL ≤ DISPATCH_LEVEL.
    ///
    /// # Safety
    /// The drive is of this channel and stays until its requests are done.
    pub(super) unsafe fn queue(&self, drive: *const Drive, irp: *mut Irp) {
        self.queue.lock().push_back((drive, irp as usize));
        // SAFETY: by this function's contract, the drive is of this channel and stays until its requests
        // are done.
        unsafe {
            ke::KeSetEvent((&raw const self.wake).cast_mut(), 0, FALSE);
        }
    }

    /// Moves sectors between a drive and memory: by DMA where that works, else through the data port. In the
    /// channel's thread.
    ///
    /// # Safety
    /// `data` is as long as the transfer and mapped.
    pub(super) unsafe fn transfer(
        &mut self,
        transfer: Transfer,
        dma: bool,
        data: *mut u8,
    ) -> Result<(), Error> {
        let Transfer { mut lba, sectors: mut left, .. } = transfer;
        let mut at = data;
        // SAFETY: by this function's contract, `data` is as long as the transfer and mapped.
        unsafe {
            while left != 0 {
                let sectors = left.min(MAX_SECTORS);
                let part = Transfer { lba, sectors, ..transfer };
                self.transfer_part(part, dma, at)?;
                at = at.add(sectors as usize * 512);
                (lba, left) = (lba + u64::from(sectors), left - sectors);
            }
        }
        Ok(())
    }

    unsafe fn transfer_part(&mut self, part: Transfer, dma: bool, data: *mut u8) -> Result<(), Error> {
        let bytes = part.sectors as usize * 512;
        // SAFETY: the caller keeps `data` valid for this call.
        unsafe {
            if dma
                && let Some(bus_master) = &mut self.bus_master
                && bus_master.prepare(data as usize, bytes, part.write)
            {
                match self.registers.transfer_dma(part, bus_master) {
                    Err(Error::TimedOut) => {
                        crate::log!("ide: no bus-master DMA on channel {}, using the data port", self.number);
                        self.bus_master = None;
                    }
                    other => return other,
                }
            }
            // The data port moves words; a buffer at an odd address goes through an aligned one.
            let mut words = alloc::vec![0u16; bytes / 2];
            if part.write {
                data.copy_to_nonoverlapping(words.as_mut_ptr().cast(), bytes);
            }
            self.registers.transfer_pio(part, &mut words)?;
            if !part.write {
                words.as_ptr().cast::<u8>().copy_to_nonoverlapping(data, bytes);
            }
            Ok(())
        }
    }

    /// Sends a command to a CD-ROM drive: bytes read, or the sense data of a command it refused. In the
    /// channel's thread.
    ///
    /// # Safety
    /// As [`transfer`](Self::transfer).
    pub(super) unsafe fn packet(
        &mut self,
        drive: u8,
        cdb: &[u8],
        data: &mut [u8],
    ) -> Result<usize, PacketError> {
        // SAFETY: the caller keeps the contract of [`transfer`](Self::transfer).
        unsafe {
            match self.registers.packet_in(drive, cdb, data) {
                Ok(bytes) => Ok(bytes),
                Err(Error::Device(_)) => {
                    let mut sense = [0; sense::LENGTH];
                    self.registers.sense(drive, &mut sense).map_err(PacketError::Channel)?;
                    Err(PacketError::Refused(sense))
                }
                Err(error) => Err(PacketError::Channel(error)),
            }
        }
    }

    /// Makes a drive write its cache to the medium. In the channel's thread.
    ///
    /// # Safety
    /// As [`transfer`](Self::transfer).
    pub(super) unsafe fn flush(&mut self, drive: u8) -> Result<(), Error> {
        // SAFETY: the caller keeps the contract of [`transfer`](Self::transfer).
        unsafe { self.registers.flush(drive) }
    }
}

/// Runs the channel's thread.
unsafe extern "win64" fn work(context: Pvoid) {
    let channel = context.cast::<Channel>();
    // SAFETY: the caller keeps `context` valid for this call.
    unsafe {
        loop {
            let next = (*channel).queue.lock().pop_front();
            match next {
                Some((drive, irp)) => {
                    let irp = irp as *mut Irp;
                    drive::execute(&*drive, &mut *channel, irp);
                    io::IofCompleteRequest(irp, 1);
                }
                None if (*channel).ending.load(Ordering::Acquire) => break,
                None => {
                    let wake = (&raw mut (*channel).wake).cast();
                    ke::KeWaitForSingleObject(wake, EXECUTIVE, KERNEL_MODE, FALSE, null_mut());
                }
            }
        }
    }
    ps::PsTerminateSystemThread(status::SUCCESS);
}
