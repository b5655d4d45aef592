//! Instructions that the whole executive is made of, below every other module: I/O ports, and the interrupt
//! flag.

mod interrupts;
pub(crate) mod port;

pub(crate) use interrupts::{disable_interrupts, restore_interrupts};
