//! Guest memory, grant table, notifications and xenstore of one pretended guest.
#![expect(unsafe_code, reason = "implements the unsafe Hal trait")]

use core::fmt;
use core::mem::size_of;
use core::sync::atomic::Ordering;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::string::{String, ToString};
use std::vec::Vec;

use super::{Memory, Tree};
use crate::wire::grant::{
    ENTRIES_PER_FRAME, EntryV1, GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_WRITING,
};
use crate::{DomainId, Frame, GrantRef, PAGE_SIZE, Port, SharedMemory, SharedPage, grant};

/// The byte that fills fresh pages, so that one that is shared without having been cleared is seen.
const POISON: u8 = 0xA5;

struct Inner {
    pages: BTreeMap<u64, Memory>,
    next_frame: u64,
    // Before the memory it lies in.
    table: grant::Table<Vec<u32>>,
    table_memory: Memory,
    entries: usize,
    /// Mappings of a grant by the other domain: readers, writers.
    mapped: BTreeMap<u32, (u32, u32)>,
    notified: Vec<Port>,
    log: Vec<String>,
    tree: Tree,
    pages_left: usize,
    life: u32,
    /// Calls that took references from the table or gave some back.
    reference_calls: usize,
}

/// One pretended guest; clones are the same guest.
#[derive(Clone)]
pub struct World {
    inner: Rc<RefCell<Inner>>,
}

impl World {
    /// Returns a guest with a grant table of one frame.
    pub fn new() -> Self {
        Self::with_grants(ENTRIES_PER_FRAME)
    }

    /// Returns a guest with so many grant entries, the reserved ones counted.
    pub fn with_grants(entries: usize) -> Self {
        let table_memory = Memory::new(entries.div_ceil(ENTRIES_PER_FRAME), 0);
        let table = grant::Table::new(table_memory.share(), std::vec![0; entries]).expect("enough entries");
        let inner = Inner {
            pages: BTreeMap::new(),
            next_frame: 0x1000,
            table,
            table_memory,
            entries,
            mapped: BTreeMap::new(),
            notified: Vec::new(),
            log: Vec::new(),
            tree: Tree::default(),
            pages_left: usize::MAX,
            life: 0,
            reference_calls: 0,
        };
        Self { inner: Rc::new(RefCell::new(inner)) }
    }

    /// Returns the guest's services.
    pub fn hal(&self) -> Hal {
        Hal { world: self.clone() }
    }

    /// Returns the guest's xenstore.
    pub fn store(&self) -> Tree {
        self.inner.borrow().tree.clone()
    }

    /// Returns a new page that starts with `bytes`.
    pub fn page_of(&self, bytes: &[u8]) -> Frame {
        let frame = self.inner.borrow_mut().allocate();
        self.memory(frame).expect("just allocated").copy_in(0, bytes);
        frame
    }

    /// Returns a page's content.
    pub fn content(&self, frame: Frame) -> Vec<u8> {
        let mut content = std::vec![0; PAGE_SIZE];
        self.memory(frame).expect("a page of this guest").copy_out(0, &mut content);
        content
    }

    /// Returns a page's memory, if the guest has the page.
    pub fn memory(&self, frame: Frame) -> Option<SharedMemory> {
        self.inner.borrow().pages.get(&frame.0).map(Memory::share)
    }

    /// Returns the number of pages that the guest has.
    pub fn pages(&self) -> usize {
        self.inner.borrow().pages.len()
    }

    /// Lets so many more pages be allocated.
    pub fn limit_pages(&self, pages: usize) {
        self.inner.borrow_mut().pages_left = pages;
    }

    /// Returns true if some grant lets a page be reached.
    pub fn is_granted(&self, frame: Frame) -> bool {
        self.inner.borrow().is_granted(frame)
    }

    /// Returns the number of grants that let a page be reached.
    pub fn granted(&self) -> u32 {
        self.inner.borrow().permitting().count() as u32
    }

    /// Returns the number of grant references that are free.
    pub fn free_grants(&self) -> u32 {
        self.inner.borrow().table.available()
    }

    /// Holds all grant references that are free, for good.
    pub fn hold_grants(&self) {
        let mut inner = self.inner.borrow_mut();
        let mut references = std::vec![GrantRef(0); inner.table.available() as usize];
        inner.table.take(&mut references);
    }

    /// Returns the number of grant references that are leaked.
    pub fn leaked_grants(&self) -> u32 {
        self.inner.borrow().table.leaked()
    }

    /// Resumes the guest: it gets a grant table in which nothing is granted, and keeps its memory.
    pub fn forget_grants(&self) {
        let mut inner = self.inner.borrow_mut();
        // At the address where the frontends' entries are.
        let memory = inner.table_memory.share();
        memory.zero();
        let entries = inner.entries;
        inner.table = grant::Table::new(memory, std::vec![0; entries]).expect("as many as before");
        inner.mapped.clear();
        inner.life += 1;
    }

    /// Returns the number of times that the guest has been resumed.
    pub fn life(&self) -> u32 {
        self.inner.borrow().life
    }

    /// Notifications sent since the last call.
    pub fn take_notified(&self) -> Vec<Port> {
        // The list keeps its memory: a benchmark counts no allocation of it.
        self.inner.borrow_mut().notified.drain(..).collect()
    }

    /// Returns the number of calls since the last one that took references from the table or gave some back.
    pub fn take_reference_calls(&self) -> usize {
        core::mem::take(&mut self.inner.borrow_mut().reference_calls)
    }

    /// Returns the log lines.
    pub fn log(&self) -> Vec<String> {
        self.inner.borrow().log.clone()
    }

    /// Maps a grant as Xen does for another domain; `None` where the grant does not allow it.
    pub fn map(&self, domain: DomainId, reference: GrantRef, write: bool) -> Option<SharedMemory> {
        let mut inner = self.inner.borrow_mut();
        let at = reference.0 as usize * size_of::<EntryV1>();
        let table = inner.table_memory.share();
        let entry: EntryV1 = if at < table.len() { table.read(at) } else { return None };
        let writable = entry.flags & GTF_READONLY == 0;
        if entry.flags & GTF_PERMIT_ACCESS == 0 || write && !writable || entry.domid != domain.0 {
            return None;
        }
        inner.flags(reference, GTF_READING | if write { GTF_WRITING } else { 0 }, true);
        let (readers, writers) = inner.mapped.entry(reference.0).or_default();
        *readers += 1;
        *writers += u32::from(write);
        Some(inner.pages.get(&entry.frame.into()).expect("a granted frame exists").share())
    }

    /// Ends a mapping.
    pub fn unmap(&self, reference: GrantRef, write: bool) {
        let mut inner = self.inner.borrow_mut();
        let (readers, writers) = inner.mapped.get_mut(&reference.0).expect("mapped");
        *readers -= 1;
        *writers -= u32::from(write);
        let (readers, writers) = (*readers, *writers);
        if readers == 0 {
            inner.flags(reference, GTF_READING, false);
        }
        if writers == 0 {
            inner.flags(reference, GTF_WRITING, false);
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl Inner {
    fn allocate(&mut self) -> Frame {
        let frame = self.next_frame;
        // Frames that do not follow each other, so that one taken for another is seen.
        self.next_frame += 3;
        self.pages.insert(frame, Memory::new(1, POISON));
        Frame(frame)
    }

    fn flags(&self, reference: GrantRef, bits: u16, set: bool) {
        let memory = self.table_memory.share();
        let flags = memory.atomic_u16(reference.0 as usize * size_of::<EntryV1>());
        if set {
            flags.fetch_or(bits, Ordering::SeqCst);
        } else {
            flags.fetch_and(!bits, Ordering::SeqCst);
        }
    }

    /// Returns the entries that let a page be reached.
    fn permitting(&self) -> impl Iterator<Item = EntryV1> {
        let memory = self.table_memory.share();
        let entries = 0..memory.len() / size_of::<EntryV1>();
        entries
            .map(move |index| memory.read::<EntryV1>(index * size_of::<EntryV1>()))
            .filter(|entry| entry.flags & GTF_PERMIT_ACCESS != 0)
    }

    /// Returns true if some grant lets a frame be reached.
    fn is_granted(&self, frame: Frame) -> bool {
        self.permitting().any(|entry| u64::from(entry.frame) == frame.0)
    }
}

/// A [`crate::Hal`] over a [`World`]. Panics where a page that is still granted is freed, or one is freed
/// twice.
#[derive(Clone, Debug)]
pub struct Hal {
    world: World,
}

// SAFETY: grants come from a real table, pages are private to one owner and kept as long as the world lives.
unsafe impl crate::Hal for Hal {
    fn grant_entries(&self) -> Option<grant::Entries> {
        Some(grant::Entries::new(self.world.inner.borrow().table_memory.share(), 0))
    }

    fn take_references(&self, into: &mut [GrantRef]) -> usize {
        let mut inner = self.world.inner.borrow_mut();
        inner.reference_calls += 1;
        inner.table.take(into)
    }

    fn give_references(&self, references: &[GrantRef]) {
        let mut inner = self.world.inner.borrow_mut();
        inner.reference_calls += 1;
        assert_eq!(inner.table.give(references), 0, "references are given back that nobody has");
    }

    // A guest's is a hypercall. A benchmark can leave out a function of its own.
    #[inline(never)]
    fn notify(&self, port: Port) {
        self.world.inner.borrow_mut().notified.push(port);
    }

    fn alloc_shared_page(&self) -> Option<SharedPage> {
        let mut inner = self.world.inner.borrow_mut();
        inner.pages_left = inner.pages_left.checked_sub(1)?;
        let frame = inner.allocate();
        // SAFETY: a page of its own, alive as long as the world.
        Some(unsafe { SharedPage::new(inner.pages[&frame.0].base(), frame) })
    }

    unsafe fn free_shared_page(&self, page: SharedPage) {
        let mut inner = self.world.inner.borrow_mut();
        assert!(!inner.is_granted(page.frame()), "a page is freed while it is granted");
        assert!(inner.pages.remove(&page.frame().0).is_some(), "a page is freed twice");
    }

    fn log(&self, message: fmt::Arguments<'_>) {
        self.world.inner.borrow_mut().log.push(message.to_string());
    }
}
