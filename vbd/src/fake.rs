//! SRBs that a test gives and whose answers it sees.
#![allow(unsafe_code, reason = "implements an unsafe trait")]

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::rc::Rc;

use std::boxed::Box;
use std::vec::Vec;

use xen::blkif::{self, Element};

use crate::{Answer, Request};

/// A command of the test's, which outlives its SRB.
pub struct Order(Rc<Command>);

struct Command {
    length: u32,
    data: Option<NonNull<u8>>,
    list: &'static [Element],
    extension: NonNull<MaybeUninit<Request<Srb>>>,
    answer: Cell<Option<Answer>>,
}

impl Order {
    /// A command with a buffer of `length` bytes, at this address and made of these elements. List and
    /// extension are leaked: an SRB may stay pending for good.
    pub fn new(length: usize, data: Option<NonNull<u8>>, list: Vec<Element>) -> Self {
        Self(Rc::new(Command {
            length: length as u32,
            data,
            list: list.leak(),
            extension: NonNull::from(Box::leak(Box::new(MaybeUninit::uninit()))),
            answer: Cell::new(None),
        }))
    }

    /// The SRB; to be asked for once.
    pub fn srb(&self) -> Srb {
        Srb(self.0.clone())
    }

    /// How the command ended.
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
    type List = ScatterList;

    fn data_length(&self) -> u32 {
        self.0.length
    }

    fn data(&self) -> Option<NonNull<u8>> {
        self.0.data
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
