//! No wake-up is lost: the ring's handshake in every order of both ends' steps, over loom's model of memory.
//!
//! The frontend runs the code of `ring::handshake` itself; the backend does what `io/ring.h` prescribes for
//! its end (`RING_FINAL_CHECK_FOR_REQUESTS`, `RING_PUSH_RESPONSES_AND_CHECK_NOTIFY`). Each end works only
//! when it is woken. A lost wake-up leaves a thread that waits for ever, which loom reports as a deadlock.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use xen::ring::handshake::{self, Indices, Word};

/// The ring's header.
struct Header {
    req_prod: AtomicU32,
    req_event: AtomicU32,
    rsp_prod: AtomicU32,
    rsp_event: AtomicU32,
}

impl Header {
    fn new() -> Self {
        let word = AtomicU32::new;
        Self { req_prod: word(0), req_event: word(1), rsp_prod: word(0), rsp_event: word(1) }
    }

    fn word(&self, word: Word) -> &AtomicU32 {
        match word {
            Word::ReqProd => &self.req_prod,
            Word::ReqEvent => &self.req_event,
            Word::RspProd => &self.rsp_prod,
            Word::RspEvent => &self.rsp_event,
        }
    }
}

impl Indices for Header {
    fn load(&self, word: Word, order: Ordering) -> u32 {
        self.word(word).load(order)
    }

    fn store(&self, word: Word, value: u32, order: Ordering) {
        self.word(word).store(value, order);
    }

    fn fence(&self) {
        fence(SeqCst);
    }
}

/// An event channel: a pending bit, and somebody who waits for it.
struct Channel {
    pending: Mutex<bool>,
    set: Condvar,
}

impl Channel {
    fn new() -> Self {
        Self { pending: Mutex::new(false), set: Condvar::new() }
    }

    fn notify(&self) {
        *self.pending.lock().unwrap() = true;
        self.set.notify_one();
    }

    fn wait(&self) {
        let mut pending = self.pending.lock().unwrap();
        while !*pending {
            pending = self.set.wait(pending).unwrap();
        }
        *pending = false;
    }
}

struct Shared {
    header: Header,
    to_backend: Channel,
    to_frontend: Channel,
}

/// Plays the backend's end, until it has answered `requests`.
fn backend(shared: &Shared, requests: u32) {
    let header = &shared.header;
    let (mut consumed, mut responded) = (0, 0);
    while responded < requests {
        shared.to_backend.wait();
        loop {
            while consumed != header.req_prod.load(Acquire) {
                consumed += 1;
                let from = responded;
                responded += 1;
                header.rsp_prod.store(responded, Release);
                fence(SeqCst);
                if responded.wrapping_sub(header.rsp_event.load(Relaxed)) < responded.wrapping_sub(from) {
                    shared.to_frontend.notify();
                }
            }
            header.req_event.store(consumed + 1, Relaxed);
            fence(SeqCst);
            if header.req_prod.load(Relaxed) == consumed {
                break;
            }
        }
    }
}

/// Pushes batches of these sizes, waits for all of the answers; asks to be woken at the answer that `after`
/// says, of so many outstanding.
fn check(batches: &'static [u32], after: fn(u32) -> u32) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let shared = Arc::new(Shared {
            header: Header::new(),
            to_backend: Channel::new(),
            to_frontend: Channel::new(),
        });
        let requests = batches.iter().sum();
        let other = thread::spawn({
            let shared = Arc::clone(&shared);
            move || backend(&shared, requests)
        });
        let (mut pushed, mut consumed) = (0, 0);
        for batch in batches {
            let from = pushed;
            pushed += batch;
            if handshake::push(&shared.header, from, pushed) {
                shared.to_backend.notify();
            }
        }
        while consumed < requests {
            consumed = shared.header.load(Word::RspProd, Acquire);
            assert!(consumed <= pushed);
            if consumed < requests && !handshake::rearm(&shared.header, consumed, after(pushed - consumed)) {
                shared.to_frontend.wait();
            }
        }
        other.join().unwrap();
    });
}

#[test]
fn no_wake_up_is_lost_where_each_response_is_announced() {
    check(&[1, 1], |_| 1);
}

#[test]
fn no_wake_up_is_lost_where_several_responses_are_awaited() {
    check(&[3], |outstanding| outstanding.div_ceil(2));
    check(&[2, 1], |outstanding| outstanding);
}
