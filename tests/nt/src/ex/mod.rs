//! The executive's support routines: pool for drivers, worker threads.

mod pool;
pub mod worker;

pub use pool::*;
pub use worker::ExQueueWorkItem;
