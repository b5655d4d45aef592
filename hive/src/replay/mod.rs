//! Replaying log files: a hive that was not written to its end becomes whole.
//!
//! Windows writes what changed to a log file first and to the hive afterwards; from Windows 8.1 on up to an
//! hour later. A crash in between leaves a *dirty* hive: its two sequence numbers differ, or its base block's
//! checksum is wrong. The next loader applies the log files, and [`replay`] does the same in memory. Source:
//! "Windows registry file format specification" (M. Suhanov), sections "Format of transaction log files",
//! "Dirty state of a hive" and "Multiple transaction log files".
//!
//! Where the specification has Windows mend a hive by guessing (self-healing, dummy bins), this is refused.

mod log;
pub(crate) mod marvin;

use alloc::vec::Vec;
use core::fmt;

use crate::{
    Error, Hive,
    base_block::{self, Layout},
    bin,
};
use log::{Entry, Format, Log};

/// A hive with nothing left to replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The hive's file.
    pub hive: Vec<u8>,
    /// The log files that were applied, as indices of those given, in the order of their use; none where the
    /// hive was clean.
    pub logs: Vec<usize>,
    /// Number of log entries that were applied; of the older format a log file is one.
    pub entries: usize,
}

/// The reason why a hive could not be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayError {
    /// The hive is no registry hive, or of another version.
    Hive(Error),
    /// The hive is dirty, and none of its log files fits.
    NoLogFits {
        /// Its two sequence numbers.
        sequences: (u32, u32),
        /// The reason why each log file does not fit, with its index.
        reasons: Vec<(usize, LogFault)>,
    },
    /// With the log files applied the hive is damaged.
    Result(Error),
}

/// The reason why a log file cannot be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFault {
    /// It has no content.
    Empty,
    /// It is damaged, or no log file.
    Damaged(Error),
    /// It is of an earlier write: its sequence number is this, the hive's that one.
    Earlier(u32, u32),
    /// It is of another write: its time is this, the hive's that one.
    OtherTime(u64, u64),
}

impl fmt::Display for LogFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogFault::Empty => f.write_str("it is empty"),
            LogFault::Damaged(error) => write!(f, "{error}"),
            LogFault::Earlier(log, hive) => {
                write!(f, "it is of an earlier write (sequence number {log}, the hive has {hive})")
            }
            LogFault::OtherTime(log, hive) => {
                write!(f, "it is of another write (time {log:#x}, the hive has {hive:#x})")
            }
        }
    }
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplayError::Hive(error) => write!(f, "{error}"),
            ReplayError::Result(error) => {
                write!(f, "with its log files replayed the hive is damaged: {error}")
            }
            ReplayError::NoLogFits { sequences: (primary, secondary), reasons } => {
                write!(
                    f,
                    "the hive was not written to its end (sequence numbers {primary} and {secondary}), and no log file fits"
                )?;
                for (log, fault) in reasons {
                    write!(f, "; log file {}: {fault}", log + 1)?;
                }
                Ok(())
            }
        }
    }
}

impl core::error::Error for ReplayError {}

/// Says whether a hive has to be replayed before it can be read.
///
/// # Errors
/// The file is no hive, or of another version.
pub fn is_dirty(file: &[u8]) -> Result<bool, Error> {
    let base = Layout::of(file)?;
    let (primary, secondary) = base.sequences();
    Ok(base.check_checksum(file).is_err() || primary != secondary)
}

/// Applies the log files that fit to a hive that is dirty. A clean hive is returned as it is.
///
/// The result's sequence numbers are higher than those of every log file that was applied, so that no log
/// file fits it.
///
/// # Errors
/// The file is no hive; it is dirty and no log file fits; or the result is damaged.
pub fn replay(file: &[u8], logs: &[&[u8]]) -> Result<Replayed, ReplayError> {
    if !is_dirty(file).map_err(ReplayError::Hive)? {
        return Ok(Replayed { hive: file.to_vec(), logs: Vec::new(), entries: 0 });
    }
    let base = Layout::of(file).map_err(ReplayError::Hive)?;
    let base_is_whole = base.check_checksum(file).is_ok();
    let (mut reasons, mut old, mut new) = (Vec::new(), Vec::new(), Vec::new());
    for (index, &content) in logs.iter().enumerate() {
        if content.iter().all(|&byte| byte == 0) {
            reasons.push((index, LogFault::Empty));
            continue;
        }
        let log = match Log::read(content) {
            Ok(log) => log,
            Err(error) => {
                reasons.push((index, LogFault::Damaged(error)));
                continue;
            }
        };
        let fault = match log.format {
            Format::New => earlier(&log, base, base_is_whole),
            Format::Old => of_another_write(&log, file, base, base_is_whole),
        };
        match (fault, log.format) {
            (Some(fault), _) => reasons.push((index, fault)),
            (None, Format::New) => new.push((index, log)),
            (None, Format::Old) => old.push((index, log)),
        }
    }
    // After an upgrade of Windows the other log file may still be one of the older format.
    let mut work = Work::new(file, logs);
    let mut done = work.apply_new(new, base_is_whole, &mut reasons);
    if done.is_empty() {
        done = work.apply_old(old, base_is_whole, &mut reasons);
    }
    if done.is_empty() {
        reasons.sort_by_key(|(index, _)| *index);
        return Err(ReplayError::NoLogFits { sequences: base.sequences(), reasons });
    }
    let entries = work.entries;
    let hive = work.finish();
    Hive::new(&hive).and_then(|hive| hive.root().map(|_| ())).map_err(ReplayError::Result)?;
    Ok(Replayed { hive, logs: done, entries })
}

/// Returns a fault if a log file of the newer format is too early. It has to hold what a hive lacks from the
/// write on that was the last to end.
fn earlier(log: &Log<'_>, base: &Layout, base_is_whole: bool) -> Option<LogFault> {
    let (own, hive) = (log.sequence(), base.sequences().1);
    (base_is_whole && !is_at_or_behind(own, hive)).then_some(LogFault::Earlier(own, hive))
}

/// Returns a fault if a log file of the older format belongs to another write. It belongs to the write whose
/// time the hive has; without a base block that can be trusted, its first bin.
fn of_another_write(log: &Log<'_>, file: &[u8], base: &Layout, base_is_whole: bool) -> Option<LogFault> {
    let own = log.base.last_written.get();
    let hive =
        if base_is_whole { base.last_written.get() } else { bin::first_time(file).unwrap_or_default() };
    (own != hive).then_some(LogFault::OtherTime(own, hive))
}

/// Returns true if a sequence number is `other` or one behind it. Sequence numbers go round.
const fn is_at_or_behind(number: u32, other: u32) -> bool {
    number.wrapping_sub(other).cast_signed() >= 0
}

/// A hive while log files are applied.
struct Work {
    hive: Vec<u8>,
    /// The most that it may grow to: every byte behind the old end comes from a log file.
    largest: usize,
    bins_size: u32,
    sequence: u32,
    locked: Option<bool>,
    entries: usize,
}

impl Work {
    fn new(file: &[u8], logs: &[&[u8]]) -> Work {
        let largest = logs.iter().map(|log| log.len()).fold(file.len(), usize::saturating_add);
        Work { hive: file.to_vec(), largest, bins_size: 0, sequence: 0, locked: None, entries: 0 }
    }

    /// Applies log files of the newer format; returns those that were.
    fn apply_new(
        &mut self,
        mut logs: Vec<(usize, Log<'_>)>,
        base_is_whole: bool,
        reasons: &mut Vec<(usize, LogFault)>,
    ) -> Vec<usize> {
        logs.sort_by(|(_, one), (_, other)| match one.sequence() == other.sequence() {
            true => core::cmp::Ordering::Equal,
            false if is_at_or_behind(one.sequence(), other.sequence()) => core::cmp::Ordering::Greater,
            false => core::cmp::Ordering::Less,
        });
        if !base_is_whole && logs.len() > 1 {
            // Without a base block that tells how far the hive is, Windows takes the last one only.
            logs.drain(..logs.len() - 1);
        }
        let mut done = Vec::new();
        for (index, log) in logs {
            if !done.is_empty() && log.sequence() != self.sequence.wrapping_add(1) {
                break;
            }
            let (entries, end) = log.entries();
            let mut applied = 0;
            for entry in &entries {
                if !self.apply_entry(entry) {
                    break;
                }
                applied += 1;
            }
            if applied == 0 {
                reasons.push((index, LogFault::Damaged(end)));
                // What follows would leave a gap.
                break;
            }
            if !base_is_whole {
                self.take_base(&log);
            }
            self.entries += applied;
            done.push(index);
            if applied < entries.len() {
                break;
            }
        }
        done
    }

    /// Applies an entry, unless it would let the hive grow beyond what log files can fill.
    fn apply_entry(&mut self, entry: &Entry<'_>) -> bool {
        if base_block::SIZE + entry.bins_size as usize > self.largest {
            return false;
        }
        self.resize(entry.bins_size);
        for (offset, page) in &entry.pages {
            self.put(*offset, page);
        }
        self.sequence = entry.sequence;
        self.locked = Some(entry.locked);
        true
    }

    /// Applies a log file of the older format: the first one that fits, as the boot loader does.
    fn apply_old(
        &mut self,
        logs: Vec<(usize, Log<'_>)>,
        base_is_whole: bool,
        reasons: &mut Vec<(usize, LogFault)>,
    ) -> Vec<usize> {
        for (index, log) in logs {
            let pages = match log.dirty_pages() {
                Ok(pages) => pages,
                Err(error) => {
                    reasons.push((index, LogFault::Damaged(error)));
                    continue;
                }
            };
            let bins_size = log.base.bins_size.get();
            if base_block::SIZE + bins_size as usize > self.largest {
                let error = Error::number(40, "no more bins than the log file can fill", bins_size.into());
                reasons.push((index, LogFault::Damaged(error)));
                continue;
            }
            self.resize(bins_size);
            for (offset, page) in pages {
                self.put(offset, page);
            }
            if !base_is_whole {
                self.take_base(&log);
            }
            // The hive that was being written has the number behind the log file's at most.
            let hive = Layout::of(&self.hive).map_or(0, |base| base.sequences().0);
            let own = log.sequence();
            self.sequence = if is_at_or_behind(hive, own) { hive } else { own };
            self.entries = 1;
            return [index].into();
        }
        Vec::new()
    }

    fn resize(&mut self, bins_size: u32) {
        self.bins_size = bins_size;
        let end = base_block::SIZE + bins_size as usize;
        if self.hive.len() < end {
            self.hive.resize(end, 0);
        }
    }

    fn put(&mut self, offset: u32, page: &[u8]) {
        let at = base_block::SIZE + offset as usize;
        if let Some(place) = self.hive.get_mut(at..at.saturating_add(page.len())) {
            place.copy_from_slice(page);
        }
    }

    /// Puts the base block of a log file in the place of one that cannot be trusted.
    fn take_base(&mut self, log: &Log<'_>) {
        log.base.write_to(&mut self.hive);
    }

    /// Returns the hive, clean.
    fn finish(mut self) -> Vec<u8> {
        let sequence = self.sequence.wrapping_add(1);
        base_block::make_clean(&mut self.hive, sequence, self.bins_size, self.locked);
        self.hive
    }
}
