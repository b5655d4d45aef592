//! The conversation of one who has no interrupt: he asks, yields the processor, and looks.

use super::Transport;
use crate::hypercall::Hypercall;
use crate::{Port, event_channel, sched};

/// Reaches xenstored by hypercall, and waits by yielding the processor to dom0. Any level.
#[derive(Debug)]
pub struct Polling<H, P> {
    hypercall: H,
    port: Port,
    pause: P,
}

impl<H: Hypercall, P: FnMut() -> bool> Polling<H, P> {
    /// Makes a transport that polls. `port` is the store's. `pause` is called between two looks: it may let a
    /// moment pass, and answers `false` when time is up.
    pub const fn new(hypercall: H, port: Port, pause: P) -> Self {
        Self { hypercall, port, pause }
    }
}

impl<H: Hypercall, P: FnMut() -> bool> Transport for Polling<H, P> {
    fn notify(&mut self) {
        // Where the notification fails no answer comes, and the wait says so.
        let _ = event_channel::send(&self.hypercall, self.port);
    }

    fn wait(&mut self, _idle: u32) -> bool {
        sched::yield_now(&self.hypercall);
        (self.pause)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Hypervisor;

    #[test]
    fn it_notifies_yields_and_gives_up_when_told() {
        let xen = Hypervisor::default();
        xen.ports.borrow_mut().insert(1, (0, None));
        let mut left = 2;
        let mut polling = Polling::new(&xen, Port(1), || {
            left -= 1;
            left > 0
        });
        polling.notify();
        assert!(polling.wait(0));
        assert!(!polling.wait(1));
        assert_eq!(*xen.sent.borrow(), [1]);
        assert_eq!(xen.scheduled.borrow().len(), 2);
    }
}
