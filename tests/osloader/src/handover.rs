//! The handover to the executive: the multiboot information that the loader makes where the firmware has none.

use core::ops::Range;

use crate::multiboot::{COMMAND_LINE, Information, MEMORY_MAP, MODULES, MapEntry, Module};

/// Ranges of memory that fit.
const RANGES: usize = 128;
/// Bytes of the command line that fit, with the zero byte behind it.
const WORDS: usize = 1024;

/// The information with all that it points to. It lies in memory below 2 MiB, which the executive leaves alone.
#[derive(Debug)]
pub struct Handover {
    information: Information,
    module: Module,
    map: [MapEntry; RANGES],
    ranges: usize,
    words: [u8; WORDS],
}

impl Handover {
    /// The handover of nothing.
    pub const EMPTY: Self = Self {
        information: Information::EMPTY,
        module: Module { start: 0, end: 0, string: 0, reserved: 0 },
        map: [MapEntry::new(0, 0, 0); RANGES],
        ranges: 0,
        words: [0; WORDS],
    };

    /// Adds a range of memory.
    ///
    /// # Errors
    /// There are too many.
    pub fn add_memory(&mut self, range: MapEntry) -> Result<(), &'static str> {
        *self.map.get_mut(self.ranges).ok_or("too many ranges of memory")? = range;
        self.ranges += 1;
        Ok(())
    }

    /// Takes the command line, and the place of the archive.
    ///
    /// # Errors
    /// The command line is too long.
    pub fn describe(&mut self, words: &str, archive: Range<usize>) -> Result<(), &'static str> {
        if words.len() >= WORDS {
            return Err("the words are too long");
        }
        self.words = [0; WORDS];
        self.words[..words.len()].copy_from_slice(words.as_bytes());
        self.module = Module { start: archive.start as u32, end: archive.end as u32, string: 0, reserved: 0 };
        Ok(())
    }

    /// Returns the address of the information, which is complete from here on. The handover stays where it is.
    pub fn finish(&mut self) -> u64 {
        self.information = Information {
            flags: COMMAND_LINE | MODULES | MEMORY_MAP,
            cmdline: self.words.as_ptr() as usize as u32,
            mods_count: 1,
            mods_addr: (&raw const self.module) as usize as u32,
            mmap_length: (self.ranges * size_of::<MapEntry>()) as u32,
            mmap_addr: self.map.as_ptr() as usize as u32,
            ..Information::EMPTY
        };
        (&raw const self.information) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_refused() {
        let mut handover = Handover::EMPTY;
        assert!(handover.describe(&"x".repeat(WORDS - 1), 0..1).is_ok());
        assert!(handover.describe(&"x".repeat(WORDS), 0..1).is_err());
        for _ in 0..RANGES {
            handover.add_memory(MapEntry::new(0, 1, 1)).unwrap();
        }
        assert!(handover.add_memory(MapEntry::new(0, 1, 1)).is_err());
    }

    #[test]
    fn all_of_it_is_described() {
        let mut handover = Handover::EMPTY;
        handover.describe("entry=2", 0x1000..0x3000).unwrap();
        handover.add_memory(MapEntry::new(0x20_0000, 5, 1)).unwrap();
        handover.finish();
        let information = handover.information;
        assert_eq!(information.flags, COMMAND_LINE | MODULES | MEMORY_MAP);
        assert_eq!((information.mods_count, information.mmap_length), (1, 24));
        assert_eq!((handover.module.start, handover.module.end), (0x1000, 0x3000));
        assert_eq!(&handover.words[..8], b"entry=2\0");
    }
}
