//! The system's memory, where data is copied to and from it.
//!
//! The port driver gives no address for the buffer of a read or write, on any version of NT: what an SRB has
//! is a scatter-gather list. Data that is copied is reached through a [`Window`], address space that was
//! reserved when the disk was connected, so that mapping cannot fail when memory is short.
#![expect(unsafe_code, reason = "reads and writes mapped memory")]

use core::ptr::NonNull;
use core::slice;

use xen::blkif::{Element, ScatterList};
use xen::{Frame, PAGE_SIZE, SharedMemory};

const PAGE: u64 = PAGE_SIZE as u64;

/// Most pages of one mapping.
pub const WINDOW_PAGES: usize = 16;

/// Address space for a few pages of the system's memory.
///
/// # Safety
/// A queue reads and writes what [`Window::map`] answers. An implementation promises for each method what its
/// section *Implementation* says.
pub unsafe trait Window: Send {
    /// Maps pages one behind the other. ≤ DISPATCH_LEVEL; at most [`WINDOW_PAGES`], at least one; nothing is
    /// mapped.
    ///
    /// # Implementation
    /// From the address on, these frames are readable and writable on this processor, as the system's own
    /// memory is cached, until [`Window::unmap`]. Neither waits nor fails.
    fn map(&mut self, frames: &[Frame]) -> NonNull<u8>;

    /// Ends the mapping. ≤ DISPATCH_LEVEL; something is mapped.
    fn unmap(&mut self);
}

/// A stretch of a buffer that is mapped.
struct Mapped {
    /// The buffer's request.
    tag: usize,
    /// First byte, counted from the buffer's start.
    from: u64,
    bytes: usize,
    address: NonNull<u8>,
}

/// A place in a buffer's scatter-gather list: the element that begins at byte `start`.
#[derive(Clone, Copy)]
struct Place {
    tag: usize,
    element: usize,
    start: u64,
}

/// Copies between the frontend's pages and buffers of requests, piece by piece.
pub(crate) struct Copier<W: Window> {
    window: W,
    mapped: Option<Mapped>,
    /// Start of the last mapping, so that a long list is not walked from its start each time.
    place: Option<Place>,
}

// SAFETY: what is mapped is mapped for all processors; a queue is used by one at a time.
unsafe impl<W: Window> Send for Copier<W> {}

impl<W: Window> Copier<W> {
    pub(crate) fn new(window: W) -> Self {
        Self { window, mapped: None, place: None }
    }

    /// Copies `length` bytes of the buffer of request `tag`, from byte `offset` on, to the start of `page`.
    pub(crate) fn read(
        &mut self,
        tag: usize,
        list: &dyn ScatterList,
        offset: u64,
        length: usize,
        page: &SharedMemory,
    ) {
        self.pieces(tag, list, offset, length, |done, address, bytes| {
            // SAFETY: `pieces` hands out mapped bytes of a buffer that is the request's until it ends.
            page.copy_in(done, unsafe { slice::from_raw_parts(address.as_ptr(), bytes) });
        });
    }

    /// Copies the first `length` bytes of `page` into the buffer of request `tag`, from byte `offset` on.
    pub(crate) fn write(
        &mut self,
        tag: usize,
        list: &dyn ScatterList,
        offset: u64,
        length: usize,
        page: &SharedMemory,
    ) {
        self.pieces(tag, list, offset, length, |done, address, bytes| {
            // SAFETY: as in `read`; the buffer of a read is this driver's to write.
            page.copy_out(done, unsafe { slice::from_raw_parts_mut(address.as_ptr(), bytes) });
        });
    }

    /// Ends the mapping. Before the request that it belongs to ends.
    pub(crate) fn release(&mut self) {
        if self.mapped.take().is_some() {
            self.window.unmap();
        }
        self.place = None;
    }

    fn pieces(
        &mut self,
        tag: usize,
        list: &dyn ScatterList,
        offset: u64,
        length: usize,
        mut copy: impl FnMut(usize, NonNull<u8>, usize),
    ) {
        let mut done = 0;
        while done < length {
            // A request is refused whose list is shorter than its data.
            let Some((address, bytes)) = self.at(tag, list, offset + done as u64) else { return };
            let bytes = bytes.min(length - done);
            copy(done, address, bytes);
            done += bytes;
        }
    }

    /// Address of a byte of a buffer, and how many follow it there.
    fn at(&mut self, tag: usize, list: &dyn ScatterList, offset: u64) -> Option<(NonNull<u8>, usize)> {
        if let Some(mapped) = self.mapped.as_ref().filter(|mapped| mapped.tag == tag)
            && let Some(skip) = offset.checked_sub(mapped.from).filter(|skip| *skip < mapped.bytes as u64)
        {
            // SAFETY: inside the mapping.
            return Some((unsafe { mapped.address.add(skip as usize) }, mapped.bytes - skip as usize));
        }
        if self.mapped.take().is_some() {
            self.window.unmap();
        }
        self.map(tag, list, offset)
    }

    /// Maps as much of a buffer from `offset` on as lies page behind page, and fits.
    fn map(&mut self, tag: usize, list: &dyn ScatterList, offset: u64) -> Option<(NonNull<u8>, usize)> {
        let known = self.place.filter(|place| place.tag == tag && place.start <= offset);
        let Place { mut element, mut start, .. } = known.unwrap_or(Place { tag, element: 0, start: 0 });
        loop {
            let end = start + u64::from(list.element(element)?.length);
            if offset < end {
                break;
            }
            (element, start) = (element + 1, end);
        }
        self.place = Some(Place { tag, element, start });
        let mut pieces = Pieces { list, element, skip: offset - start };
        let (address, length) = pieces.next()?;
        let within = address as usize % PAGE_SIZE;
        let mut frames = [Frame(0); WINDOW_PAGES];
        let (mut count, mut bytes, mut end) = (0, 0, 0);
        let mut piece = Some((address, length));
        while let Some((address, length)) = piece
            && count < WINDOW_PAGES
            // What does not go on at a page's start, after a page's end, is another mapping.
            && (count == 0 || end % PAGE == 0 && address % PAGE == 0)
        {
            frames[count] = Frame(address / PAGE);
            (count, bytes, end) = (count + 1, bytes + length as usize, address + length);
            piece = pieces.next();
        }
        // SAFETY: a byte of the first page of the mapping.
        let address = unsafe { self.window.map(&frames[..count]).add(within) };
        self.mapped = Some(Mapped { tag, from: offset, bytes, address });
        Some((address, bytes))
    }
}

/// The pieces of a buffer from a place on: address and length, each inside a page.
struct Pieces<'a> {
    list: &'a dyn ScatterList,
    element: usize,
    /// Bytes of the element that were passed.
    skip: u64,
}

impl Iterator for Pieces<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Element { address, length } = self.list.element(self.element)?;
            let (address, left) = (address + self.skip, u64::from(length).saturating_sub(self.skip));
            if left == 0 {
                (self.element, self.skip) = (self.element + 1, 0);
                continue;
            }
            let length = (PAGE - address % PAGE).min(left);
            self.skip += length;
            return Some((address, length));
        }
    }
}
