//! Addresses in reports: driver, section and offset.

use core::fmt;

use super::image::with_image_at;
use crate::ke::thread;
use crate::mm::map;

unsafe extern "C" {
    static image_start: u8;
    static image_end: u8;
}

/// Returns the executive's own image.
pub(crate) fn executive() -> core::ops::Range<usize> {
    (&raw const image_start) as usize..(&raw const image_end) as usize
}

/// An address, printed as `driver.sys+offset(section)`, `nt+address`, or a bare number.
pub(crate) struct Place(pub usize);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let shown = with_image_at(self.0, |image| {
            let offset = self.0 - image.base;
            let section =
                image.sections.iter().find(|s| (s.address..s.address + s.virtual_size).contains(&offset));
            write!(f, "{}+{offset:#x}({})", image.name, section.map_or("", |s| &s.name))
        });
        match shown {
            Some(result) => result,
            None if executive().contains(&self.0) => write!(f, "nt+{:#x}", self.0),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

/// Returns true if an address can be read now.
fn readable(address: usize) -> bool {
    map::protection(address) & map::PRESENT != 0
        || (&raw const image_start as usize..executive().end).contains(&address)
}

/// Prints the code addresses found on the running thread's stack, newest first: not a true backtrace, since
/// frames hold stale addresses too.
pub(crate) fn print_stack(stack_pointer: usize) {
    let start = stack_pointer & !7;
    let end = match thread::current_stack() {
        Some((low, high)) if (low..high).contains(&start) => high,
        _ => start + 2048,
    };
    let mut shown = 0;
    for at in (start..end).step_by(8) {
        if shown == 24 || !readable(at) {
            break;
        }
        // SAFETY: the word is mapped.
        let value = unsafe { (at as *const usize).read() };
        let driver = with_image_at(value, |image| {
            image.sections.iter().any(|s| {
                s.characteristics & osloader::pe::EXECUTE != 0
                    && (image.base + s.address..image.base + s.address + s.virtual_size).contains(&value)
            })
        });
        if driver == Some(true) || super::text().contains(&value) {
            crate::log!("stack {:#x}: {}", at, Place(value));
            shown += 1;
        }
    }
}
