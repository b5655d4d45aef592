//! Lists of requests, linked through the requests themselves.
#![expect(unsafe_code, reason = "requests live in SRB extensions and are linked through them")]

use core::ptr::NonNull;

use crate::{Answer, Request, Srb};

/// The first and the last request of a list.
type Ends<S> = (NonNull<Request<S>>, NonNull<Request<S>>);

/// Requests linked through their `next`, first in, first out. A request is in one list at most.
pub(crate) struct List<S: Srb> {
    ends: Option<Ends<S>>,
}

impl<S: Srb> Default for List<S> {
    fn default() -> Self {
        Self { ends: None }
    }
}

impl<S: Srb> List<S> {
    /// Appends a request that is in no list.
    pub(crate) fn push(&mut self, request: NonNull<Request<S>>) {
        self.ends = Some(match self.ends {
            None => (request, request),
            Some((first, mut last)) => {
                // SAFETY: a request in a list is pending, and the list's holder has it to itself.
                unsafe { last.as_mut() }.next = Some(request);
                (first, request)
            }
        });
    }

    pub(crate) fn first(&self) -> Option<NonNull<Request<S>>> {
        self.ends.map(|(first, _)| first)
    }

    pub(crate) fn pop(&mut self) -> Option<NonNull<Request<S>>> {
        let (mut first, last) = self.ends?;
        // SAFETY: as in `push`.
        let next = unsafe { first.as_mut() }.next.take();
        self.ends = next.map(|next| (next, last));
        Some(first)
    }

    /// Puts a request in its place by number, unless it is there already. Takes as long as the list is; for
    /// the recovery from a lost backend.
    pub(crate) fn insert(&mut self, mut request: NonNull<Request<S>>) {
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
    pub(crate) fn remove(&mut self, request: NonNull<Request<S>>) {
        let mut rest = core::mem::take(self);
        while let Some(other) = rest.pop() {
            if other != request {
                self.push(other);
            }
        }
    }

    /// Calls `visit` for each request, in order.
    pub(crate) fn for_each(&mut self, mut visit: impl FnMut(&mut Request<S>)) {
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
pub struct Ended<S: Srb>(List<S>);

impl<S: Srb> Default for Ended<S> {
    fn default() -> Self {
        Self(List::default())
    }
}

impl<S: Srb> Ended<S> {
    pub(crate) fn push(&mut self, mut request: NonNull<Request<S>>, answer: Answer) {
        // SAFETY: the request is pending and in no list.
        unsafe { request.as_mut() }.answer = answer;
        self.0.push(request);
    }

    /// Ends a request that reached no queue.
    pub fn unserved(request: NonNull<Request<S>>) -> Self {
        let mut ended = Self::default();
        ended.push(request, Answer::NoDevice);
        ended
    }

    /// Completes them. ≤ DISPATCH_LEVEL, no queue lock held.
    pub fn complete(mut self) {
        while let Some(mut request) = self.0.pop() {
            let (srb, answer) = {
                // SAFETY: the request ended: it is in no list, and no ring request of it is left. The
                // reference ends before the SRB, and with it the request's memory, goes back
                // to the port driver.
                let request = unsafe { request.as_mut() };
                (request.srb.take(), request.answer)
            };
            if let Some(srb) = srb {
                srb.complete(answer);
            }
        }
    }
}
