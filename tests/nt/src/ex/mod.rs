//! The executive's support routines: pool for drivers, worker threads.

mod pool;
pub(crate) mod worker;

pub(crate) use pool::*;
pub(crate) use worker::ExQueueWorkItem;
