//! Windows behind the service's work: the service manager, the device's interface, the event log, the shutdown.

mod device;
mod event_log;
mod machine;
pub mod service;

/// Returns a text as Windows takes it, with the NUL that ends it.
fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}
