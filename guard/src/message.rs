//! The event log's message of each reason: one code and one text, which the drivers write and their message
//! tables explain.
//!
//! A code is that of [MS-ERREF] 2.1: severity in bits 31–30, the customer bit 29, the reason in bits 15–0.
//! Event Viewer shows the lower 16 bits as the event's id, so an event's id is the reason's code.

use core::fmt;

use crate::Reason;

/// Informational, with the customer bit.
const INFORMATION: u32 = 0x6000_0000;
/// A warning, with the customer bit.
const WARNING: u32 = 0xA000_0000;

/// Returns the code under which a driver writes this reason into the event log.
#[must_use]
pub const fn code(reason: Reason) -> u32 {
    let severity = if matches!(reason, Reason::PvSelected) { INFORMATION } else { WARNING };
    severity | reason.code()
}

/// The text that Event Viewer shows for a reason; `%2` is the detail that the driver wrote along (`%1` is the
/// device's name). No other `%` may be in it.
#[derive(Clone, Copy, Debug)]
pub struct Text(pub Reason);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Xenguard (reason 0x{:02X}): {}. %2", self.0.code(), self.0.text())
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn an_events_id_is_the_reasons_code() {
        for &reason in Reason::ALL {
            assert_eq!(code(reason) & 0xFFFF, reason.code());
            assert_ne!(code(reason) & 0x2000_0000, 0, "the customer bit");
        }
        assert_eq!(code(Reason::PvSelected), 0x6000_0001);
        assert_eq!(code(Reason::StoreUnreadable), 0xA000_0016);
    }

    #[test]
    fn a_text_takes_nothing_but_the_detail() {
        for &reason in Reason::ALL {
            assert!(!reason.text().contains('%'), "{reason:?}");
            assert!(Text(reason).to_string().ends_with(". %2"));
        }
    }
}
