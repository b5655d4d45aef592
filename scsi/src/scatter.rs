//! A data buffer's scatter-gather list, cut into what one request of a block ring carries.
//!
//! A ring request names pages, and of each page a run of 512-byte sectors. A buffer whose physically contiguous
//! elements all start and end on such a sector can be named directly; any other has to go through a bounce
//! buffer ([`is_aligned`] tells the two apart).

use crate::SECTOR;

/// Bytes in a page.
pub const PAGE: u64 = 4096;

/// One physically contiguous element of a scatter-gather list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// Physical address of the first byte.
    pub address: u64,
    /// Length in bytes.
    pub length: u32,
}

/// A run of sectors in one page. Both ends are inclusive, 0 to 7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Frame number: physical address divided by 4096.
    pub frame: u64,
    /// First sector.
    pub first: u8,
    /// Last sector.
    pub last: u8,
}

impl Piece {
    /// Number of sectors.
    pub const fn sectors(&self) -> u64 {
        (self.last - self.first) as u64 + 1
    }
}

/// Whether the first `bytes` bytes of a buffer can be named as whole sectors of pages.
///
/// `None` if the list is shorter than that.
pub fn is_aligned(list: impl IntoIterator<Item = Element>, bytes: u64) -> Option<bool> {
    let sector = u64::from(SECTOR);
    let mut left = bytes;
    let mut aligned = bytes.is_multiple_of(sector);
    for element in list {
        if left == 0 {
            break;
        }
        let used = left.min(element.length.into());
        aligned &= element.address.is_multiple_of(sector) && used.is_multiple_of(sector);
        left -= used;
    }
    (left == 0).then_some(aligned)
}

/// How far into an aligned scatter-gather list requests have been cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    element: usize,
    offset: u32,
}

impl Cursor {
    /// Cuts the next pieces: as many as `pieces` holds, at most `sectors` sectors in all.
    ///
    /// `element` gives the list by index, `None` past its end. The answer is the number of pieces written and
    /// the number of sectors they have; both are zero at the list's end.
    pub fn cut(
        &mut self,
        element: impl Fn(usize) -> Option<Element>,
        sectors: u64,
        pieces: &mut [Piece],
    ) -> (usize, u64) {
        let mut taken = 0;
        let mut left = sectors;
        for piece in pieces.iter_mut() {
            // An element may be empty.
            let (address, length) = loop {
                let Some(current) = element(self.element) else { return (taken, sectors - left) };
                if let Some(length @ 1..) = current.length.checked_sub(self.offset) {
                    break (current.address.wrapping_add(self.offset.into()), length);
                }
                *self = Self { element: self.element + 1, offset: 0 };
            };
            let in_page = address % PAGE;
            let run = (PAGE - in_page).min(length.into()) / u64::from(SECTOR);
            let run = run.min(left);
            if run == 0 {
                break;
            }
            // Aligned, so `in_page` is a whole number of sectors; both ends are under 8.
            let first = (in_page / u64::from(SECTOR)) as u8;
            *piece = Piece { frame: address / PAGE, first, last: first + (run - 1) as u8 };
            // At most a page, so far under 4 GiB.
            self.offset += (run * u64::from(SECTOR)) as u32;
            left -= run;
            taken += 1;
        }
        (taken, sectors - left)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_is_one_piece_and_a_run_of_pages_is_cut() {
        let list = [Element { address: 0x1000, length: 4096 }, Element { address: 0x5200, length: 0x1800 }];
        let mut cursor = Cursor::default();
        let mut pieces = [Piece::default(); 2];
        assert_eq!(cursor.cut(|n| list.get(n).copied(), 100, &mut pieces), (2, 15));
        assert_eq!(pieces[0], Piece { frame: 1, first: 0, last: 7 });
        assert_eq!(pieces[1], Piece { frame: 5, first: 1, last: 7 });
        assert_eq!(cursor.cut(|n| list.get(n).copied(), 100, &mut pieces), (1, 5));
        assert_eq!(pieces[0], Piece { frame: 6, first: 0, last: 4 });
        assert_eq!(cursor.cut(|n| list.get(n).copied(), 100, &mut pieces), (0, 0));
    }

    #[test]
    fn alignment_is_judged_on_the_bytes_used() {
        let at = |address, length| Element { address, length };
        assert_eq!(is_aligned([at(0x1000, 512)], 512), Some(true));
        assert_eq!(is_aligned([at(0x1004, 512)], 512), Some(false));
        assert_eq!(is_aligned([at(0x1E00, 100), at(0x3064, 412)], 512), Some(false));
        assert_eq!(is_aligned([at(0x1000, 1024), at(0x2001, 9)], 1024), Some(true));
        assert_eq!(is_aligned([at(0x1000, 1000)], 512), Some(true));
        assert_eq!(is_aligned([at(0x1000, 512)], 1024), None);
        assert_eq!(is_aligned([], 0), Some(true));
    }

    fn aligned_list() -> impl Strategy<Value = Vec<Element>> {
        let element = (0u64..1 << 30, 0u32..64)
            .prop_map(|(sector, count)| Element { address: sector * 512, length: count * 512 });
        prop::collection::vec(element, 0..12)
    }

    proptest! {
        /// Whatever the cut, the pieces name exactly the buffer's bytes, in order, once each.
        #[test]
        fn pieces_are_the_buffer(list in aligned_list(), most in 1usize..12, limit in 1u64..200) {
            let bytes = |list: &[Element]| -> Vec<u64> {
                list.iter().flat_map(|e| (0..u64::from(e.length) / 512).map(move |n| e.address / 512 + n)).collect()
            };
            let mut cursor = Cursor::default();
            let mut named = Vec::new();
            loop {
                let mut pieces = std::vec![Piece::default(); most];
                let (count, sectors) = cursor.cut(|n| list.get(n).copied(), limit, &mut pieces);
                prop_assert!(sectors <= limit);
                prop_assert_eq!(sectors, pieces[..count].iter().map(Piece::sectors).sum::<u64>());
                for piece in &pieces[..count] {
                    prop_assert!(piece.first <= piece.last && piece.last < 8);
                    named.extend((piece.first..=piece.last).map(|n| piece.frame * 8 + u64::from(n)));
                }
                if count == 0 {
                    break;
                }
            }
            prop_assert_eq!(named, bytes(&list));
        }
    }
}
