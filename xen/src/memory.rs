//! Memory that another domain or Xen reads and writes at the same time.
//!
//! No reference into such memory ever exists; it is reached by volatile copies and by atomics, each checked
//! against its length.
#![expect(unsafe_code, reason = "volatile and atomic access to memory shared with other domains")]

use core::marker::PhantomData;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes of a page, on both sides of every interface here.
pub const PAGE_SIZE: usize = 4096;

/// Guest frame number: guest-physical address divided by [`PAGE_SIZE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame(pub u64);

/// A mapped range of memory shared with Xen or another domain.
#[derive(Debug)]
pub struct SharedMemory {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the range belongs to no thread; every access is volatile or atomic, as `new` demands.
unsafe impl Send for SharedMemory {}
// SAFETY: as above; methods by shared reference only make volatile or atomic accesses.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Takes over the range of `length` bytes at `base`.
    ///
    /// # Safety
    /// The range is mapped, readable and writable, non-paged, aligned to 8 bytes, stays so as long as the
    /// value lives, and no Rust reference into it exists meanwhile.
    pub const unsafe fn new(base: NonNull<u8>, length: usize) -> Self {
        Self { base, length }
    }

    /// Returns the number of bytes in the range.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Returns true if the range has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Returns the address that the range is mapped at.
    pub const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Address of `size` bytes at `offset`. Panics outside the range or where not aligned to `align`.
    fn at(&self, offset: usize, size: usize, align: usize) -> NonNull<u8> {
        assert!(size <= self.length && offset <= self.length - size && offset.is_multiple_of(align));
        // SAFETY: checked above to be inside the range.
        unsafe { self.base.add(offset) }
    }

    /// Copies bytes out; each byte is read once. Panics outside the range.
    pub fn copy_out(&self, offset: usize, into: &mut [u8]) {
        let source = self.at(offset, into.len(), 1);
        let aligned = if offset.is_multiple_of(8) { into.len() } else { 0 };
        let (words, _) = into[..aligned].as_chunks_mut::<8>();
        for (index, word) in words.iter_mut().enumerate() {
            // SAFETY: inside the range by `at`; aligned, as base and offset are multiples of 8.
            *word = unsafe { source.cast::<u64>().add(index).read_volatile() }.to_ne_bytes();
        }
        for (index, byte) in into.iter_mut().enumerate().skip(aligned / 8 * 8) {
            // SAFETY: inside the range by `at`.
            *byte = unsafe { source.add(index).read_volatile() };
        }
    }

    /// Copies bytes in. Panics outside the range.
    pub fn copy_in(&self, offset: usize, from: &[u8]) {
        let target = self.at(offset, from.len(), 1);
        let aligned = if offset.is_multiple_of(8) { from.len() } else { 0 };
        let (words, _) = from[..aligned].as_chunks::<8>();
        for (index, word) in words.iter().enumerate() {
            // SAFETY: inside the range by `at`; aligned, as base and offset are multiples of 8.
            unsafe { target.cast::<u64>().add(index).write_volatile(u64::from_ne_bytes(*word)) };
        }
        for (index, byte) in from.iter().enumerate().skip(aligned / 8 * 8) {
            // SAFETY: inside the range by `at`.
            unsafe { target.add(index).write_volatile(*byte) };
        }
    }

    /// Copies a structure out; each byte is read once. Panics outside the range.
    pub fn read<T: FromBytes + IntoBytes>(&self, offset: usize) -> T {
        let mut value = T::new_zeroed();
        self.copy_out(offset, value.as_mut_bytes());
        value
    }

    /// Copies a structure in. Panics outside the range.
    pub fn write<T: IntoBytes + Immutable>(&self, offset: usize, value: &T) {
        self.copy_in(offset, value.as_bytes());
    }

    /// Sets every byte to zero.
    pub fn zero(&self) {
        let words = self.length / 8;
        for word in 0..words {
            // SAFETY: inside the range; aligned, as the base is to 8.
            unsafe { self.base.cast::<u64>().add(word).write_volatile(0) };
        }
        for offset in words * 8..self.length {
            // SAFETY: inside the range.
            unsafe { self.base.add(offset).write_volatile(0) };
        }
    }
}

/// The words of eight bytes of a range, by their index.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    base: NonNull<u64>,
    count: usize,
    range: PhantomData<&'a SharedMemory>,
}

impl SharedMemory {
    /// Returns the range's words.
    #[inline]
    pub const fn words(&self) -> Words<'_> {
        Words { base: self.base.cast(), count: self.length / size_of::<u64>(), range: PhantomData }
    }
}

impl<'a> Words<'a> {
    /// One word as an atomic. Panics outside the range.
    #[inline]
    pub fn atomic(self, index: usize) -> &'a AtomicU64 {
        // SAFETY: inside the range; atomics allow others to write meanwhile.
        unsafe { self.at(index, 1).cast::<AtomicU64>().as_ref() }
    }

    /// Copies words out; each is read once. Panics outside the range.
    #[inline]
    pub fn read<const COUNT: usize>(self, index: usize) -> [u64; COUNT] {
        let source = self.at(index, COUNT);
        // SAFETY: inside the range and aligned.
        core::array::from_fn(|word| unsafe { source.add(word).read_volatile() })
    }

    /// Copies words in. Panics outside the range.
    #[inline]
    pub fn write(self, index: usize, from: &[u64]) {
        let target = self.at(index, from.len());
        for (place, word) in from.iter().enumerate() {
            // SAFETY: inside the range and aligned.
            unsafe { target.add(place).write_volatile(*word) };
        }
    }

    /// Returns the `count` words from `index` on as atomics. Panics outside the range.
    #[inline]
    pub fn atomics(self, index: usize, count: usize) -> &'a [AtomicU64] {
        let first = self.at(index, count).cast::<AtomicU64>();
        // SAFETY: inside the range and aligned; atomics allow others to write meanwhile.
        unsafe { slice::from_raw_parts(first.as_ptr(), count) }
    }

    /// Address of `count` words; aligned, as the range is. Panics outside the range.
    #[inline]
    fn at(self, index: usize, count: usize) -> NonNull<u64> {
        assert!(index < self.count && count <= self.count - index);
        // SAFETY: checked above to be inside the range.
        unsafe { self.base.add(index) }
    }
}

/// Defines one atomic accessor.
macro_rules! atomic {
    ($name:ident, $type:ty, $doc:literal) => {
        #[doc = $doc]
        #[inline]
        pub fn $name(&self, offset: usize) -> &$type {
            let at = self.at(offset, size_of::<$type>(), size_of::<$type>());
            // SAFETY: inside the range and aligned by `at`; atomics allow others to write meanwhile.
            unsafe { at.cast::<$type>().as_ref() }
        }
    };
}

impl SharedMemory {
    atomic!(atomic_u8, AtomicU8, "One byte as an atomic. Panics outside the range.");
    atomic!(atomic_u16, AtomicU16, "Two bytes as an atomic. Panics outside the range or unaligned.");
    atomic!(atomic_u32, AtomicU32, "Four bytes as an atomic. Panics outside the range or unaligned.");
    atomic!(atomic_u64, AtomicU64, "Eight bytes as an atomic. Panics outside the range or unaligned.");
}

/// One page of guest memory that can be granted to another domain.
#[derive(Debug)]
pub struct SharedPage {
    memory: SharedMemory,
    frame: Frame,
}

impl SharedPage {
    /// Returns the page mapped at `base`, guest frame `frame`.
    ///
    /// # Safety
    /// As for [`SharedMemory::new`] with [`PAGE_SIZE`] bytes; `base` is aligned to a page, and `frame` is the
    /// guest frame that backs it as long as the value lives. Nobody else uses the page.
    pub const unsafe fn new(base: NonNull<u8>, frame: Frame) -> Self {
        // SAFETY: the caller's promise.
        Self { memory: unsafe { SharedMemory::new(base, PAGE_SIZE) }, frame }
    }

    /// Returns the page's bytes.
    #[inline]
    pub const fn memory(&self) -> &SharedMemory {
        // SAFETY: `new` has set this length, and nothing changes it. Checks against it cost nothing so.
        unsafe { core::hint::assert_unchecked(self.memory.length == PAGE_SIZE) };
        &self.memory
    }

    /// Returns the page's guest frame.
    pub const fn frame(&self) -> Frame {
        self.frame
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering;

    use proptest::prelude::*;

    use super::*;
    use crate::fake::Memory;

    proptest! {
        #[test]
        fn copies_are_exact(offset in 0usize..40, bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let memory = Memory::new(1, 0xEE);
            let shared = memory.share();
            shared.copy_in(offset, &bytes);
            let mut page = [0; PAGE_SIZE];
            shared.copy_out(0, &mut page);
            let mut expected = [0xEE; PAGE_SIZE];
            expected[offset..offset + bytes.len()].copy_from_slice(&bytes);
            prop_assert_eq!(&page[..], &expected[..]);
            let mut back = std::vec![0; bytes.len()];
            shared.copy_out(offset, &mut back);
            prop_assert_eq!(back, bytes);
        }
    }

    #[test]
    fn structures_and_atomics_see_the_same_bytes() {
        let memory = Memory::new(1, 0xEE);
        let shared = memory.share();
        shared.zero();
        shared.write(8, &0x1122_3344_5566_7788u64);
        assert_eq!(shared.atomic_u64(8).load(Ordering::SeqCst), 0x1122_3344_5566_7788);
        assert_eq!(shared.atomic_u16(8).load(Ordering::SeqCst), 0x7788);
        assert_eq!(shared.atomic_u8(15).load(Ordering::SeqCst), 0x11);
        assert_eq!(shared.read::<u32>(12), 0x1122_3344);
        assert_eq!((shared.len(), shared.is_empty()), (PAGE_SIZE, false));
        let words = shared.words();
        assert_eq!(words.read(1), [0x1122_3344_5566_7788, 0]);
        words.write(510, &[3, 4]);
        assert_eq!((shared.read::<u64>(4080), words.atomic(511).load(Ordering::SeqCst)), (3, 4));
    }

    #[test]
    #[should_panic(expected = "offset <= self.length - size")]
    fn nothing_beyond_the_end_is_reached() {
        let memory = Memory::new(1, 0);
        memory.share().copy_in(PAGE_SIZE - 3, &[0; 4]);
    }

    #[test]
    #[should_panic(expected = "count <= self.count - index")]
    fn no_word_beyond_the_end_is_reached() {
        let memory = Memory::new(1, 0);
        memory.share().words().write(511, &[0; 2]);
    }

    #[test]
    #[should_panic(expected = "is_multiple_of(align)")]
    fn atomics_are_aligned() {
        let memory = Memory::new(1, 0);
        memory.share().atomic_u32(2);
    }
}
