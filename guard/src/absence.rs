//! Absence of idefilter from this boot: NT does not start a device whose filter cannot be had.
//!
//! A filter of boot devices must have been brought by the boot loader, which brings the files of the services
//! whose `Start` is 0 and leaves out a file that is missing or damaged. Its image alone says nothing: the
//! loader also brings a disabled driver's file where another driver imports from it.

use core::fmt;

/// The service's `Start` that has the boot loader bring its file.
const BOOT_START: u32 = 0;

/// The reason why idefilter cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// There is no such service, or it has no `Start`.
    NoService,
    /// Its `Start` is another than 0.
    NotBootStart(u32),
    /// The boot loader has not brought its file.
    NotLoaded,
}

impl Absence {
    /// Returns the reason why idefilter cannot be had, if there is one. `start` is its service's `Start`.
    /// `loaded` is true if its image is in memory.
    #[must_use]
    pub const fn of(start: Option<u32>, loaded: bool) -> Option<Absence> {
        match (start, loaded) {
            (None, _) => Some(Self::NoService),
            (Some(BOOT_START), true) => None,
            (Some(BOOT_START), false) => Some(Self::NotLoaded),
            (Some(start), _) => Some(Self::NotBootStart(start)),
        }
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoService => f.write_str("its service is missing"),
            Self::NotBootStart(4) => f.write_str("its service is disabled"),
            Self::NotBootStart(start) => write!(f, "its service has Start {start}, not 0"),
            Self::NotLoaded => f.write_str("its file is missing or damaged"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_boot_start_service_in_memory_is_there() {
        for loaded in [false, true] {
            assert_eq!(Absence::of(None, loaded), Some(Absence::NoService));
            for start in [1, 2, 3, 4, u32::MAX] {
                assert_eq!(Absence::of(Some(start), loaded), Some(Absence::NotBootStart(start)));
            }
        }
        assert_eq!(Absence::of(Some(0), false), Some(Absence::NotLoaded));
        assert_eq!(Absence::of(Some(0), true), None);
    }
}
