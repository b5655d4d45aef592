//! Lists of requests, linked through the requests themselves.

use core::ptr::NonNull;

use super::Request;
use crate::storport::Answer;

/// Requests linked through their `next`, first in, first out. A request is in one list at most.
#[derive(Default)]
pub(super) struct List {
    ends: Option<(NonNull<Request>, NonNull<Request>)>,
}

impl List {
    /// Appends a request that is in no list.
    pub(super) fn push(&mut self, request: NonNull<Request>) {
        self.ends = Some(match self.ends {
            None => (request, request),
            Some((first, mut last)) => {
                // SAFETY: a request in a list is pending, and the list's holder has it to itself.
                unsafe { last.as_mut() }.next = Some(request);
                (first, request)
            }
        });
    }

    pub(super) fn first(&self) -> Option<NonNull<Request>> {
        self.ends.map(|(first, _)| first)
    }

    pub(super) fn pop(&mut self) -> Option<NonNull<Request>> {
        let (mut first, last) = self.ends?;
        // SAFETY: as in `push`.
        let next = unsafe { first.as_mut() }.next.take();
        self.ends = next.map(|next| (next, last));
        Some(first)
    }

    /// Puts a request in its place by number, unless it is there already. Takes as long as the list is; for
    /// the recovery from a lost backend.
    pub(super) fn insert(&mut self, mut request: NonNull<Request>) {
        let mut rest = core::mem::take(self);
        // SAFETY: as in `push`.
        let number = unsafe { request.as_ref() }.number;
        let mut placed = false;
        while let Some(other) = rest.pop() {
            placed |= other == request;
            // SAFETY: as in `push`.
            let later = unsafe { other.as_ref() }.number > number;
            if !placed && later {
                // SAFETY: as in `push`.
                unsafe { request.as_mut() }.next = None;
                self.push(request);
                placed = true;
            }
            self.push(other);
        }
        if !placed {
            self.push(request);
        }
    }

    /// Takes a request out, if it is in here. Takes as long as the list is.
    pub(super) fn remove(&mut self, request: NonNull<Request>) {
        let mut rest = core::mem::take(self);
        while let Some(other) = rest.pop() {
            if other != request {
                self.push(other);
            }
        }
    }

    /// Calls `visit` for each request, in order.
    pub(super) fn for_each(&mut self, mut visit: impl FnMut(&mut Request)) {
        let mut rest = core::mem::take(self);
        while let Some(mut request) = rest.pop() {
            // SAFETY: as in `push`.
            visit(unsafe { request.as_mut() });
            self.push(request);
        }
    }
}

/// SRBs that have ended, to be completed with no lock held.
#[must_use = "these SRBs wait to be completed"]
#[derive(Default)]
pub struct Ended(List);

impl Ended {
    pub(super) fn push(&mut self, mut request: NonNull<Request>, answer: Answer) {
        // SAFETY: the request is pending and in no list.
        unsafe { request.as_mut() }.answer = answer;
        self.0.push(request);
    }

    /// A request that reached no queue.
    pub fn unserved(request: NonNull<Request>) -> Self {
        let mut ended = Self::default();
        ended.push(request, Answer::NoDevice);
        ended
    }

    /// Completes them. ≤ DISPATCH_LEVEL, no queue lock held.
    pub fn complete(mut self) {
        while let Some(mut request) = self.0.pop() {
            let (srb, port, answer) = {
                // SAFETY: the request ended: it is in no list, and no ring request of it is left. The
                // reference ends before the SRB, and with it the request's memory, goes back
                // to Storport.
                let request = unsafe { request.as_mut() };
                (request.srb.take(), request.port, request.answer)
            };
            if let Some(srb) = srb {
                srb.complete(port, answer);
            }
        }
    }
}
