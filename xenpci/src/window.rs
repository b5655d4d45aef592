//! The window in the device's memory BAR: where shared info and the grant table appear.
//!
//! BAR1 is address space without memory behind it, which Xen reserves for this
//! (xen-pci-device-reservations.7). Its first frame becomes shared info, the next ones the grant table. Behind them is
//! the frame that the copy of the drivers which writes a dump or a hibernation file grants by ([`DUMP_WINDOW`]).
#![expect(unsafe_code, reason = "maps the BAR and gives its frames to Xen")]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use wdm::mapping::{Caching, Mapping};
use xen::event_channel::{Channels, map_shared_info};
use xen::hypercall::{self, VmCall, remove_from_physmap};
use xen::{Frame, PAGE_SIZE, SharedMemory, grant};
use xenpci_interface::DUMP_WINDOW;

/// Bytes of the BAR that are used.
const LENGTH: usize = (DUMP_WINDOW + 1) * PAGE_SIZE;
const _: () = assert!((grant::MOST_FRAMES as usize) < DUMP_WINDOW);

/// The window, mapped into the kernel's address space. Dropping it takes Xen's pages out again
/// (PASSIVE_LEVEL).
pub(crate) struct Window {
    hypercall: VmCall,
    first: Frame,
    /// Frames from the first on that have Xen's pages behind them.
    populated: AtomicU32,
    mapping: Mapping,
}

impl Window {
    /// Maps the window at the start of the memory BAR at `physical`; nothing is behind it yet. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `DEVICE_CONFIGURATION_ERROR` for a BAR that is too small or not aligned to a page, and what mapping
    /// answers.
    ///
    /// # Safety
    /// The range is the platform device's memory BAR, assigned to it in START_DEVICE, and nobody else uses
    /// it.
    pub(crate) unsafe fn new(hypercall: VmCall, physical: u64, length: u32) -> wdm::Result<Self> {
        if (length as usize) < LENGTH || !physical.is_multiple_of(PAGE_SIZE as u64) {
            return Err(wdm::NtStatus::DEVICE_CONFIGURATION_ERROR);
        }
        // SAFETY: this device's range. What will be behind it is ordinary memory of Xen's, which is mapped
        // cached everywhere; before that nothing touches the mapping.
        let mapping = unsafe { Mapping::new(physical, LENGTH, Caching::Cached)? };
        let first = Frame(physical / PAGE_SIZE as u64);
        Ok(Self { hypercall, first, populated: AtomicU32::new(0), mapping })
    }

    /// Has Xen put shared info and the grant table behind the window: at START, and again after each resume.
    /// Answers how many frames of grant table there are. Any IRQL, and no kernel is called.
    ///
    /// # Errors
    /// Xen's answer; what was put there already is taken out when the window is dropped.
    pub(crate) fn populate(&self) -> Result<u32, hypercall::Error> {
        let (frames, _) = grant::shares(grant::query_size(&self.hypercall)?.max_frames);
        // SAFETY: the BAR's frames are this device's, and nothing but Xen's pages was ever behind them.
        unsafe {
            // Counted before it is done: taking out a page that is not there does nothing.
            self.populated.fetch_max(1, Ordering::Relaxed);
            map_shared_info(&self.hypercall, self.first)?;
            self.populated.fetch_max(1 + frames, Ordering::Relaxed);
            grant::map(&self.hypercall, Frame(self.first.0 + 1), frames)?;
        }
        Ok(frames)
    }

    /// Returns true if Xen's pages are still there, as they are not in another domain. Only after
    /// [`Window::populate`].
    pub(crate) fn is_populated(&self) -> bool {
        Channels::are_in(&self.shared_info())
    }

    /// Returns the shared info. Only after [`Window::populate`].
    pub(crate) fn shared_info(&self) -> SharedMemory {
        self.memory(0, PAGE_SIZE)
    }

    /// Returns the grant table's first `frames` frames, as [`Window::populate`] answered. Only after that.
    pub(crate) fn grant_table(&self, frames: u32) -> SharedMemory {
        self.memory(PAGE_SIZE, frames as usize * PAGE_SIZE)
    }

    /// Has Xen put the grant table's frame that the copy of the drivers uses behind the window, and returns its entries;
    /// `None` where the table has never been so long. Only where the copy does not run. Any IRQL.
    ///
    /// # Errors
    /// Xen's answer.
    pub(crate) fn table_of_the_copy(&self) -> Result<Option<SharedMemory>, hypercall::Error> {
        let size = grant::query_size(&self.hypercall)?;
        let (_, index) = grant::shares(size.max_frames);
        let Some(index) = index.filter(|index| *index < size.frames) else { return Ok(None) };
        // SAFETY: the BAR's frame that is kept for this, with that page behind it or none.
        unsafe { grant::map_one(&self.hypercall, index, self.frame_of_the_copy())? };
        Ok(Some(self.memory(DUMP_WINDOW * PAGE_SIZE, PAGE_SIZE)))
    }

    fn frame_of_the_copy(&self) -> Frame {
        Frame(self.first.0 + DUMP_WINDOW as u64)
    }

    fn memory(&self, offset: usize, length: usize) -> SharedMemory {
        assert!(offset + length <= LENGTH);
        // SAFETY: inside the mapping, page-aligned and resident; no reference into it is ever made. Users of
        // the value are parts of the platform that are dropped before the window (see
        // `platform::Platform`).
        unsafe { SharedMemory::new(NonNull::new_unchecked(self.mapping.as_ptr().add(offset)), length) }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let frames = u64::from(*self.populated.get_mut());
        let frames = (0..frames).rev().map(|index| Frame(self.first.0 + index));
        for frame in core::iter::once(self.frame_of_the_copy()).chain(frames) {
            // SAFETY: the frame has a page of Xen's behind it or none, and whoever used it has been dropped.
            // A page that Xen will not take out stays where nobody looks.
            let _ = unsafe { remove_from_physmap(&self.hypercall, frame) };
        }
    }
}
