//! The driver's `storport`: SRBs that a test gives and whose answers it sees.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::rc::Rc;

use scsi::Sense;
use xen::blkif::{self, Element};

use crate::queue::Request;

#[derive(Clone, Copy)]
pub struct Port;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Done { transferred: u32 },
    Sense(Sense),
    NoDevice,
    InvalidRequest,
    Reset,
    Busy,
}

/// A command of the test's, which outlives its SRB.
pub struct Order(Rc<Command>);

struct Command {
    length: u32,
    data: Option<NonNull<u8>>,
    list: &'static [Element],
    extension: NonNull<MaybeUninit<Request>>,
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

    pub fn srb(&self) -> Srb {
        Srb(self.0.clone())
    }

    /// How the command ended.
    pub fn answer(&self) -> Option<Answer> {
        self.0.answer.get()
    }
}

pub struct Srb(Rc<Command>);

impl Srb {
    pub fn data_length(&self) -> u32 {
        self.0.length
    }

    pub fn data(&self) -> Option<NonNull<u8>> {
        self.0.data
    }

    pub fn extension(&self) -> Option<NonNull<Request>> {
        Some(self.0.extension.cast())
    }

    pub fn scatter_list(&self, _port: Port) -> ScatterList {
        ScatterList(self.0.list)
    }

    pub fn complete(self, _port: Port, answer: Answer) {
        assert_eq!(self.0.answer.replace(Some(answer)), None, "completed twice");
    }
}

#[derive(Clone, Copy)]
pub struct ScatterList(&'static [Element]);

impl ScatterList {
    pub const NONE: Self = Self(&[]);
}

impl blkif::ScatterList for ScatterList {
    fn element(&self, index: usize) -> Option<Element> {
        self.0.get(index).copied()
    }
}
