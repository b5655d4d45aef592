//! The activity log: the lines that the drivers of the suite print, in the order of their numbers.
//!
//! A driver adds a line to a [`Ring`] at any IRQL, HIGH_LEVEL and the writing of a crash dump included: no lock
//! is asked for, and nothing waits. `idefilter.sys` has the one ring. A thread of its passes the lines on to
//! files ([`FILE`] and, before it, [`OLD_NAME`]), and the ring itself stands in a crash dump ([`lines`]).
//!
//! Nothing is lost silently: lines are numbered, and a [`Reader`] counts those that it cannot have any more.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use crate::calendar;

/// Lines that the ring keeps. The oldest ones make room.
pub const CAPACITY: usize = 64;
/// Largest number of bytes of a line; the rest is cut off.
pub const LINE: usize = WORDS * 8;
/// The GUID under which the ring stands in a crash dump: {9B6A2B80-93F0-4D5C-8E0B-5A5D1C5E7E01}.
pub const DUMP: u128 = 0x9B6A_2B80_93F0_4D5C_8E0B_5A5D_1C5E_7E01;

/// The path of the files' folder, for the kernel.
pub const FOLDER: &str = "\\SystemRoot\\Xenguard";
/// The path of the file with the latest lines.
pub const FILE: &str = "\\SystemRoot\\Xenguard\\activity.log";
/// The name, in the same folder, of the file with the lines before those.
pub const OLD_NAME: &str = "activity.old.log";
/// Largest number of bytes of a file.
pub const FILE_BYTES: u64 = 128 << 10;

const WORDS: usize = 29;
const SIGNATURE: u64 = u64::from_le_bytes(*b"XGACT001");

/// A place for a line.
#[repr(C)]
#[derive(Debug)]
struct Slot {
    /// Twice the number of the line that is here, and one more while it is being written; 0 at first.
    stamp: AtomicU64,
    /// In 100 ns since 1601-01-01 UTC.
    time: AtomicU64,
    /// Bytes of the text.
    length: AtomicU64,
    text: [AtomicU64; WORDS],
}

/// The last lines, as a crash dump has them: numbers are little-endian.
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 8 | `XGACT001` |
/// | 8 | 8 | lines so far |
/// | 16 | 256 each | [`CAPACITY`] places; line `n` is in place `n` modulo their number |
///
/// A place has 8 bytes with twice the number of its line (odd while the line is being written), 8 bytes with
/// its time, 8 with the length of its text, and the text.
#[repr(C)]
#[derive(Debug)]
pub struct Ring {
    signature: u64,
    /// The number of the last line; lines are numbered from 1.
    last: AtomicU64,
    slots: [Slot; CAPACITY],
}

/// A line as it was added.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Its number in the boot, from 1.
    pub number: u64,
    /// When it was added, in 100 ns since 1601-01-01 UTC.
    pub time: u64,
    length: usize,
    text: [u8; LINE],
}

impl Ring {
    /// Returns a ring without lines.
    #[must_use]
    pub const fn new() -> Ring {
        Ring {
            signature: SIGNATURE,
            last: AtomicU64::new(0),
            slots: [const {
                Slot {
                    stamp: AtomicU64::new(0),
                    time: AtomicU64::new(0),
                    length: AtomicU64::new(0),
                    text: [const { AtomicU64::new(0) }; WORDS],
                }
            }; CAPACITY],
        }
    }

    /// Adds a line. Any IRQL.
    ///
    /// The line gets its number in every case, so that its absence is seen where its place is still being
    /// written by somebody whom this caller has interrupted.
    pub fn add(&self, time: u64, text: &[u8]) {
        let number = self.last.fetch_add(1, Ordering::AcqRel) + 1;
        let slot = self.slot(number);
        let before = slot.stamp.load(Ordering::Relaxed);
        let free = before.is_multiple_of(2) && before < 2 * number;
        let claim =
            || slot.stamp.compare_exchange(before, 2 * number + 1, Ordering::Acquire, Ordering::Relaxed);
        if !free || claim().is_err() {
            return;
        }
        // Whoever reads one of the words below sees the stamp above.
        fence(Ordering::Release);
        let length = text.len().min(LINE);
        slot.time.store(time, Ordering::Relaxed);
        slot.length.store(length as u64, Ordering::Relaxed);
        for (word, bytes) in slot.text.iter().zip(text[..length].chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(whole), Ordering::Relaxed);
        }
        slot.stamp.store(2 * number, Ordering::Release);
    }

    /// Returns the number of the last line.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// Returns the first line from number `from` on that is kept, and how many before it are not; `None` where it is
    /// still to come. 0 counts as 1. A number beyond the next one is of another boot: it counts as 1, too.
    #[must_use]
    pub fn from(&self, from: u64) -> Option<(Line, u64)> {
        let wanted = if from > self.last() + 1 { 1 } else { from.max(1) };
        let mut reader = Reader { at: wanted - 1 };
        loop {
            match reader.next(self)? {
                Next::Line(line) => return Some((line, line.number - wanted)),
                // Told with the line behind them.
                Next::Lost(_) => {}
            }
        }
    }

    fn slot(&self, number: u64) -> &Slot {
        &self.slots[(number % CAPACITY as u64) as usize]
    }

    /// Returns a line, if it is whole.
    fn line(&self, number: u64) -> Option<Line> {
        let slot = self.slot(number);
        if slot.stamp.load(Ordering::Acquire) != 2 * number {
            return None;
        }
        let mut text = [0; LINE];
        for (bytes, word) in text.chunks_mut(8).zip(&slot.text) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        let time = slot.time.load(Ordering::Relaxed);
        let length = (slot.length.load(Ordering::Relaxed) as usize).min(LINE);
        // The words are those of the line unless the stamp has changed.
        fence(Ordering::Acquire);
        let same = slot.stamp.load(Ordering::Relaxed) == 2 * number;
        same.then_some(Line { number, time, length, text })
    }

    /// Returns true if a line is being written.
    fn is_coming(&self, number: u64) -> bool {
        self.slot(number).stamp.load(Ordering::Acquire) == 2 * number + 1
    }
}

impl Default for Ring {
    fn default() -> Ring {
        Ring::new()
    }
}

/// Result of a look for the next line.
#[expect(clippy::large_enum_variant, reason = "a line is handed over by value: nothing here allocates")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A line.
    Line(Line),
    /// This many lines that are not to be had any more.
    Lost(u64),
}

/// A place in the order of the lines. A copy of it is a way back to where it stood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reader {
    /// The number of the last line that was read or lost.
    at: u64,
}

impl Reader {
    /// Returns the number of lines that were added since.
    #[must_use]
    pub fn behind(&self, ring: &Ring) -> u64 {
        ring.last().saturating_sub(self.at)
    }

    /// Returns the next line, or how many are lost before it; `None` where there is none yet.
    ///
    /// A line whose number was given out and whose writing has not begun counts as lost.
    pub fn next(&mut self, ring: &Ring) -> Option<Next> {
        let (from, last) = (self.at + 1, ring.last());
        let oldest = (last + 1).saturating_sub(CAPACITY as u64);
        let mut number = from.max(oldest);
        while number <= last {
            if let Some(line) = ring.line(number) {
                if number > from {
                    break;
                }
                self.at = number;
                return Some(Next::Line(line));
            }
            if ring.is_coming(number) {
                break;
            }
            number += 1;
        }
        self.at = number - 1;
        (number > from).then(|| Next::Lost(number - from))
    }
}

impl Line {
    /// Returns a line with at most [`LINE`] bytes of a text.
    pub(crate) fn new(number: u64, time: u64, text: &[u8]) -> Line {
        let length = text.len().min(LINE);
        let mut line = Line { number, time, length, text: [0; LINE] };
        line.text[..length].copy_from_slice(&text[..length]);
        line
    }

    /// Returns the text's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }

    /// Returns the text; what is not UTF-8 of it is left out at the end.
    #[must_use]
    pub fn text(&self) -> &str {
        let bytes = self.bytes();
        match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Line {
    /// Writes a line such as `2026-11-29T06:31:06.123Z 12 xenpci: started`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", Utc(self.time), self.number, self.text())
    }
}

/// A time in 100 ns since 1601-01-01 UTC, shown as ISO 8601 has it, to the millisecond.
#[derive(Clone, Copy, Debug)]
pub struct Utc(pub u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0 / 10_000;
        let (days, of_day) = (milliseconds / 86_400_000, milliseconds % 86_400_000);
        let ((year, month, day), second) = (calendar::date(days), of_day / 1000);
        let (hour, minute) = (second / 3600, second / 60 % 60);
        let (second, rest) = (second % 60, of_day % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{rest:03}Z")
    }
}

/// Returns the lines of a ring as it stands in a crash dump, oldest first; `None` if it is none.
#[must_use]
pub fn lines(bytes: &[u8]) -> Option<impl Iterator<Item = Line> + '_> {
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?));
    // A stamp has room for twice the number.
    let last = (number(0)? == SIGNATURE).then(|| number(8)).flatten().filter(|&last| last < u64::MAX / 4)?;
    let first = (last + 1).saturating_sub(CAPACITY as u64).max(1);
    Some((first..=last).filter_map(move |line| {
        let at = 16 + (line % CAPACITY as u64) as usize * size_of::<Slot>();
        let length = (number(at + 16)? as usize).min(LINE);
        let text = bytes.get(at + 24..at + 24 + LINE)?.try_into().ok()?;
        (number(at)? == 2 * line).then_some(Line { number: line, time: number(at + 8)?, length, text })
    }))
}

const _: () = assert!(size_of::<Ring>() == 16 + CAPACITY * 256);

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::{String, ToString};
    use std::sync::atomic::AtomicBool;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// Reads everything that there is: the numbers of the lines, and how many are lost.
    fn drain(reader: &mut Reader, ring: &Ring) -> (Vec<u64>, u64) {
        let (mut numbers, mut lost) = (Vec::new(), 0);
        while let Some(next) = reader.next(ring) {
            match next {
                Next::Line(line) => numbers.push(line.number),
                Next::Lost(count) => lost += count,
            }
        }
        (numbers, lost)
    }

    #[test]
    fn lines_come_back_as_they_were_added() {
        let (ring, mut reader) = (Ring::new(), Reader::default());
        assert_eq!(reader.next(&ring), None);
        ring.add(134_086_194_661_230_000, b"xenpci: started");
        ring.add(0, &[b'x'; LINE + 5]);
        assert_eq!(reader.behind(&ring), 2);
        let Some(Next::Line(first)) = reader.next(&ring) else { panic!("a line") };
        assert_eq!(first.to_string(), "2025-11-26T08:31:06.123Z 1 xenpci: started");
        let Some(Next::Line(long)) = reader.next(&ring) else { panic!("a line") };
        assert_eq!(long.text().len(), LINE);
        assert_eq!((reader.next(&ring), reader.behind(&ring)), (None, 0));
    }

    #[test]
    fn a_character_that_was_cut_is_left_out() {
        let (ring, mut reader) = (Ring::new(), Reader::default());
        let text = format!("{}é", "a".repeat(LINE - 1));
        ring.add(0, text.as_bytes());
        let Some(Next::Line(line)) = reader.next(&ring) else { panic!("a line") };
        assert_eq!(line.text(), &text[..LINE - 1]);
    }

    /// A writer that was interrupted in its place keeps it: the one that comes round again loses its line, and
    /// its reader is told.
    #[test]
    fn a_place_in_use_is_left_alone() {
        let (ring, mut reader) = (Ring::new(), Reader::default());
        ring.last.store(1, Ordering::Relaxed);
        ring.slot(1).stamp.store(3, Ordering::Relaxed);
        assert_eq!(reader.next(&ring), None, "it is being written");
        for _ in 0..CAPACITY {
            ring.add(0, b"line");
        }
        assert_eq!(ring.slot(1).stamp.load(Ordering::Relaxed), 3);
        let (numbers, lost) = drain(&mut reader, &ring);
        assert_eq!((numbers.len() as u64, lost), (CAPACITY as u64 - 1, 2));
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let day = 864_000_000_000;
        assert_eq!(Utc(145_790 * day).to_string(), "2000-02-29T00:00:00.000Z");
        assert_eq!(Utc(day - 10_000).to_string(), "1601-01-01T23:59:59.999Z");
        assert!(!Utc(u64::MAX).to_string().is_empty());
    }

    /// Writers that run at once: a line that is read is one that was added, and what is read and what is lost
    /// are all of them.
    #[test]
    fn writers_at_once_tear_no_line() {
        const WRITERS: u64 = 4;
        const EACH: u64 = 20_000;
        let (ring, done) = (Ring::new(), AtomicBool::new(false));
        let (read, lost) = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut reader, mut read, mut lost) = (Reader::default(), 0, 0);
                loop {
                    let ended = done.load(Ordering::Acquire);
                    while let Some(next) = reader.next(&ring) {
                        match next {
                            Next::Lost(count) => lost += count,
                            Next::Line(line) => {
                                let expected: String = (line.time.to_string() + " ").repeat(10);
                                assert_eq!(line.text(), expected);
                                read += 1;
                            }
                        }
                    }
                    if ended {
                        return (read, lost);
                    }
                }
            });
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let ring = &ring;
                    scope.spawn(move || {
                        for line in 0..EACH {
                            let time = writer << 32 | line;
                            ring.add(time, (time.to_string() + " ").repeat(10).as_bytes());
                        }
                    })
                })
                .collect();
            writers.into_iter().for_each(|writer| writer.join().expect("it ends"));
            done.store(true, Ordering::Release);
            reader.join().expect("no line is torn")
        });
        assert_eq!(read + lost, WRITERS * EACH);
        assert!(read > 0);
    }

    /// Returns the ring's bytes as a dump has them.
    fn bytes(ring: &Ring) -> Vec<u8> {
        let words = |slot: &Slot| {
            let head = [&slot.stamp, &slot.time, &slot.length].map(|word| word.load(Ordering::Relaxed));
            head.into_iter()
                .chain(slot.text.iter().map(|word| word.load(Ordering::Relaxed)))
                .collect::<Vec<_>>()
        };
        let all = [ring.signature, ring.last()].into_iter().chain(ring.slots.iter().flat_map(words));
        all.flat_map(u64::to_le_bytes).collect()
    }

    #[test]
    fn a_dump_has_the_last_lines() {
        let ring = Ring::new();
        for line in 1..=CAPACITY + 6 {
            ring.add(line as u64, format!("xenvbd: {line}").as_bytes());
        }
        ring.slot(9).stamp.fetch_add(1, Ordering::Relaxed);
        let bytes = bytes(&ring);
        assert_eq!(bytes.len(), size_of::<Ring>());
        let found: Vec<_> = lines(&bytes).expect("a ring").collect();
        assert_eq!(found.len(), CAPACITY - 1, "all but the one that is being written");
        assert_eq!((found[0].number, found[0].text()), (7, "xenvbd: 7"));
        assert!(lines(&bytes[1..]).is_none() && lines(&[]).is_none());
        assert_eq!(lines(&bytes[..300]).expect("a ring").count(), 1, "the rest is missing");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_silently(rounds in prop::collection::vec(0u64..150, 1..8)) {
            let (ring, mut reader) = (Ring::new(), Reader::default());
            let (mut read, mut gone) = (0, 0);
            for round in &rounds {
                (0..*round).for_each(|_| ring.add(0, b"x"));
                let (numbers, lost) = drain(&mut reader, &ring);
                prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
                read += numbers.len() as u64;
                gone += lost;
            }
            prop_assert_eq!(read + gone, rounds.iter().sum::<u64>());
            prop_assert_eq!(reader.behind(&ring), 0);
        }

        #[test]
        fn any_bytes_are_no_reason_to_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), last: u64) {
            let mut dump = SIGNATURE.to_le_bytes().to_vec();
            dump.extend(last.to_le_bytes());
            dump.extend(bytes);
            if let Some(lines) = lines(&dump) {
                prop_assert!(lines.count() <= CAPACITY);
            }
        }
    }
}
