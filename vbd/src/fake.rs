//! SRBs that a test gives and whose answers it sees.
#![expect(unsafe_code, reason = "implements an unsafe trait")]

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::rc::Rc;

use std::boxed::Box;
use std::vec::Vec;

use xen::blkif::{self, Element};
use xen::fake::World;
use xen::{Frame, PAGE_SIZE};

use crate::memory::WINDOW_PAGES;
use crate::{Answer, Request};

/// A command of the test's, which outlives its SRB.
pub struct Order(Rc<Command>);

struct Command {
    length: u32,
    parameters: Option<NonNull<u8>>,
    list: &'static [Element],
    extension: NonNull<MaybeUninit<Request<Srb>>>,
    answer: Cell<Option<Answer>>,
}

impl Order {
    /// Returns a command with a buffer of `length` bytes made of these elements, or, for a command that is no
    /// read or write, at this address. List and extension are leaked: an SRB may stay pending for good.
    pub fn new(length: usize, parameters: Option<NonNull<u8>>, list: Vec<Element>) -> Self {
        Self(Rc::new(Command {
            length: length as u32,
            parameters,
            list: list.leak(),
            extension: NonNull::from(Box::leak(Box::new(MaybeUninit::uninit()))),
            answer: Cell::new(None),
        }))
    }

    /// Returns the SRB; to be asked for once.
    pub fn srb(&self) -> Srb {
        Srb(self.0.clone())
    }

    /// Returns the command's answer, once it has ended.
    pub fn answer(&self) -> Option<Answer> {
        self.0.answer.get()
    }
}

/// The SRB of an [`Order`]. It is Storport's, and stays on the test's thread.
pub struct Srb(Rc<Command>);

// SAFETY: a test uses an SRB, its order and its queue on one thread.
unsafe impl Send for Srb {}

// SAFETY: buffer, list and extension are leaked, or the test's for as long as the order lives.
unsafe impl crate::Srb for Srb {
    type Window = Window;
    type List = ScatterList;

    fn data_length(&self) -> u32 {
        self.0.length
    }

    fn parameters(&self) -> Option<NonNull<u8>> {
        self.0.parameters
    }

    fn extension(&self) -> Option<NonNull<Request<Self>>> {
        Some(self.0.extension.cast())
    }

    fn scatter_list(&self) -> Option<ScatterList> {
        Some(ScatterList(self.0.list))
    }

    fn complete(self, answer: Answer) {
        assert_eq!(self.0.answer.replace(Some(answer)), None, "completed twice");
    }
}

/// The elements of an order's buffer.
#[derive(Clone, Copy)]
pub struct ScatterList(&'static [Element]);

impl blkif::ScatterList for ScatterList {
    fn element(&self, index: usize) -> Option<Element> {
        self.0.get(index).copied()
    }
}

/// A window on a world's pages: they are copied into it, and back when the mapping ends.
pub struct Window {
    world: World,
    memory: Box<[u128]>,
    frames: Vec<Frame>,
    /// Mappings so far.
    pub mappings: usize,
}

// SAFETY: a test uses a window and its world on one thread.
unsafe impl Send for Window {}

impl Window {
    /// Returns a window with nothing mapped.
    pub fn new(world: &World) -> Self {
        let memory = std::vec![0; WINDOW_PAGES * PAGE_SIZE / size_of::<u128>()].into_boxed_slice();
        Self { world: world.clone(), memory, frames: Vec::with_capacity(WINDOW_PAGES), mappings: 0 }
    }

    fn page(&mut self, index: usize) -> &mut [u8] {
        // SAFETY: the window's own memory, of so many bytes.
        let memory = unsafe {
            core::slice::from_raw_parts_mut(self.memory.as_mut_ptr().cast::<u8>(), WINDOW_PAGES * PAGE_SIZE)
        };
        &mut memory[index * PAGE_SIZE..][..PAGE_SIZE]
    }
}

// SAFETY: the window's memory is its own, and stays where it is.
unsafe impl crate::Window for Window {
    fn map(&mut self, frames: &[Frame]) -> NonNull<u8> {
        assert!(self.frames.is_empty(), "mapped twice");
        assert!((1..=WINDOW_PAGES).contains(&frames.len()), "{} pages", frames.len());
        self.mappings += 1;
        for (index, frame) in frames.iter().enumerate() {
            let memory = self.world.memory(*frame).expect("memory of the guest's");
            memory.copy_out(0, self.page(index));
            self.frames.push(*frame);
        }
        NonNull::from(&mut *self.memory).cast()
    }

    fn unmap(&mut self) {
        assert!(!self.frames.is_empty(), "nothing is mapped");
        while let Some(frame) = self.frames.pop() {
            let memory = self.world.memory(frame).expect("memory of the guest's");
            let index = self.frames.len();
            memory.copy_in(0, self.page(index));
        }
    }
}
