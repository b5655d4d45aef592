//! Messages of the service: a number, a severity and a sentence each, the same in the event log and in its file.
//!
//! The build script takes this file, too, and makes the program's message table of it.

/// Informational, with the customer bit ([MS-ERREF] 2.1).
const INFORMATION: u32 = 0x6000_0000;
/// A warning, with the customer bit.
const WARNING: u32 = 0xA000_0000;

/// A message. Its number, which is the event's id, never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// The service has started; the detail is its version.
    Started = 1,
    /// The service stops.
    Stopped = 2,
    /// The channel is open; the detail says whether requests are followed.
    Connected = 3,
    /// There is no channel.
    Absent = 4,
    /// The channel is gone; the detail says how that showed.
    Gone = 5,
    /// The channel cannot be used; the detail says why.
    Unusable = 6,
    /// The guard's status; the detail is its phase and reason.
    Status = 7,
    /// The guest is about to be suspended.
    Suspending = 8,
    /// The guest goes on; the detail says where.
    Resumed = 9,
    /// Events are missing; the detail is their number.
    Lost = 10,
    /// The toolstack asks to power off or to reboot, and the service does it; the detail says which.
    ShuttingDown = 11,
    /// The toolstack asked, and the power button was pressed; the detail says for what.
    Pressed = 12,
    /// A shutdown could not be begun; the detail says why.
    ShutdownFailed = 13,
    /// Marks of StartOverride were taken away; the detail names the services.
    Mended = 14,
    /// Marks of StartOverride could not be taken away; the detail says why.
    NotMended = 15,
    /// An event of a later version; the detail is its number and value.
    Unknown = 16,
}

impl Message {
    /// Every message, by number.
    pub const ALL: [Self; 16] = [
        Self::Started,
        Self::Stopped,
        Self::Connected,
        Self::Absent,
        Self::Gone,
        Self::Unusable,
        Self::Status,
        Self::Suspending,
        Self::Resumed,
        Self::Lost,
        Self::ShuttingDown,
        Self::Pressed,
        Self::ShutdownFailed,
        Self::Mended,
        Self::NotMended,
        Self::Unknown,
    ];

    /// Returns the sentence, which the detail follows where there is one. It has no `%`, which the event log would take
    /// for the place of a detail.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Started => "The Xenguard service has started: version ",
            Self::Stopped => "The Xenguard service has stopped.",
            Self::Connected => "The channel of xenpci is open: ",
            Self::Absent => "There is no channel of xenpci: it is waited for.",
            Self::Gone => "The channel of xenpci is gone, and is waited for: ",
            Self::Unusable => "The channel of xenpci cannot be used: ",
            Self::Status => "The guard: ",
            Self::Suspending => "The guest is about to be suspended.",
            Self::Resumed => "The guest goes on after a suspend, ",
            Self::Lost => "Events that came before this one are not kept any more: ",
            Self::ShuttingDown => "The toolstack asks, and the service carries out: ",
            Self::Pressed => "The toolstack asked, and the power button was pressed: ",
            Self::ShutdownFailed => "The toolstack asks, and Windows does not begin a shutdown: ",
            Self::Mended => {
                "StartOverride, by which the loader would leave a driver out, is taken away from: "
            }
            Self::NotMended => "StartOverride was not taken away: ",
            Self::Unknown => "An event that this version does not know: ",
        }
    }

    /// Returns true if an admin should look at it.
    #[must_use]
    pub const fn is_warning(self) -> bool {
        matches!(self, Self::Unusable | Self::Lost | Self::ShutdownFailed | Self::NotMended)
    }

    /// Returns its code in the event log and in the message table.
    #[must_use]
    pub const fn code(self) -> u32 {
        (if self.is_warning() { WARNING } else { INFORMATION }) | self as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_are_in_order_and_texts_take_one_detail() {
        for (message, number) in Message::ALL.iter().zip(1..) {
            assert_eq!(message.code() & 0xFFFF, number);
            let text = message.text();
            assert!(!text.contains('%') && (text.ends_with('.') || text.ends_with(' ')), "{text}");
        }
        assert_eq!(Message::ALL.iter().map(|message| message.text()).collect::<BTreeSet<_>>().len(), 16);
    }
}
