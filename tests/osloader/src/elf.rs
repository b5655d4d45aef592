//! The executive's file: ELF for 64 bits, whose segments are put where they are linked (System V ABI, chapter 5).

/// Lowest address of the executive's: firmware and loaders use what lies below.
pub const LINKED: usize = 16 << 20;
/// Type of a segment to load.
const LOAD: usize = 1;

/// The file.
#[derive(Clone, Copy, Debug)]
pub struct Executable<'a>(&'a [u8]);

/// A segment of the executive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Physical address of its first byte, [`LINKED`] or above.
    pub address: usize,
    /// Its first bytes; the others are zero.
    pub content: &'a [u8],
    /// Its bytes in memory.
    pub size: usize,
}

impl<'a> Executable<'a> {
    /// Returns the file with these bytes.
    ///
    /// # Errors
    /// It is no such file.
    pub fn new(file: &'a [u8]) -> Result<Self, &'static str> {
        let valid = file.starts_with(b"\x7fELF\x02\x01");
        valid.then_some(Self(file)).ok_or("the executive is no 64-bit ELF file")
    }

    /// Returns a field of some bytes; those behind the file's end are zero.
    fn field(self, at: usize, bytes: usize) -> usize {
        let bytes = self.0.get(at..at.saturating_add(bytes)).unwrap_or(&[]);
        bytes.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte))
    }

    /// Returns the address of its first instruction.
    pub fn entry(self) -> u64 {
        self.field(24, 8) as u64
    }

    /// Returns its segments. An error is one of a malformed file.
    pub fn segments(self) -> impl Iterator<Item = Result<Segment<'a>, &'static str>> {
        let (headers, size, count) = (self.field(32, 8), self.field(54, 2), self.field(56, 2));
        let headers = (0..count).map(move |n| headers.saturating_add(n * size));
        headers.filter(move |&header| self.field(header, 4) == LOAD).map(move |header| {
            let [offset, address, in_file, size] = [8, 24, 32, 40].map(|at| self.field(header + at, 8));
            if address < LINKED || in_file > size {
                return Err("the executive is linked elsewhere");
            }
            let content =
                self.0.get(offset..offset.saturating_add(in_file)).ok_or("the executive is cut off")?;
            Ok(Segment { address, content, size })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    const HEADER: usize = 64;

    /// Returns a file with one segment of 3 bytes that takes 5 in memory.
    fn file(address: u64) -> Vec<u8> {
        let mut file = vec![0; HEADER + 56];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x7fELF\x02\x01");
        put(24, &(address + 1).to_le_bytes());
        put(32, &(HEADER as u64).to_le_bytes());
        put(54, &[56, 0, 1, 0]);
        put(HEADER, &[1]);
        for (at, number) in [(8, HEADER as u64 + 56), (24, address), (32, 3), (40, 5)] {
            put(HEADER + at, &number.to_le_bytes());
        }
        file.extend(b"abc");
        file
    }

    #[test]
    fn segments_and_entry_are_read() {
        let file = file(LINKED as u64);
        let executable = Executable::new(&file).unwrap();
        assert_eq!(executable.entry(), LINKED as u64 + 1);
        let segments: Result<Vec<_>, _> = executable.segments().collect();
        assert_eq!(segments, Ok(vec![Segment { address: LINKED, content: b"abc", size: 5 }]));
    }

    #[test]
    fn what_would_be_put_elsewhere_or_is_cut_off_is_refused() {
        let first = |file: &[u8]| Executable::new(file).unwrap().segments().next().unwrap().map(drop);
        assert!(first(&file(LINKED as u64 - 1)).is_err());
        let whole = file(LINKED as u64);
        assert!(first(&whole[..whole.len() - 1]).is_err());
        assert!(Executable::new(b"MZ").is_err());
    }
}
