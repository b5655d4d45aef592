//! The service's place in the driver's events: each is seen once, also where the channel was gone in between.

use guard::channel::Event;

/// An event, by its number and its time. A driver that was started anew counts from 1 again.
type Mark = (u64, u64);

/// The place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// The last event that was seen.
    last: Option<Mark>,
    /// The channel is new: the last event is asked for once more, to see whether it is still the same one.
    checking: bool,
}

/// An event that is new, and the number of those before it that nobody has seen.
pub type New = (Event, u64);

impl Reading {
    /// Notes that the channel was opened.
    pub fn opened(&mut self) {
        self.checking = self.last.is_some();
    }

    /// Returns the number to ask for.
    #[must_use]
    pub fn from(&self) -> u64 {
        match self.last {
            None => 1,
            Some((sequence, _)) if self.checking => sequence,
            Some((sequence, _)) => sequence + 1,
        }
    }

    /// Takes an answer; `None` where it has nothing new.
    pub fn take(&mut self, event: Event) -> Option<New> {
        let mark = (event.sequence, event.time);
        let mut lost = event.lost;
        if self.checking {
            self.checking = false;
            let sequence = self.last.map_or(0, |(sequence, _)| sequence);
            if self.last == Some(mark) {
                return None;
            }
            if lost > 0 && event.sequence > sequence {
                // The last one is not kept any more, and was seen.
                lost -= 1;
            } else {
                // Of another life of the driver's: from its first event on.
                self.last = None;
                return None;
            }
        }
        self.last = Some(mark);
        Some((event, lost))
    }
}

#[cfg(test)]
mod tests {
    use guard::channel::{Events, Kind};
    use proptest::prelude::*;

    use super::*;

    /// Reads until nothing is there; the events' values and what is lost.
    fn read(reading: &mut Reading, events: &Events) -> (Vec<u32>, u64) {
        let (mut seen, mut lost) = (Vec::new(), 0);
        while let Some(event) = events.from(reading.from()) {
            if let Some((event, more)) = reading.take(event) {
                seen.push(event.value);
                lost += more;
            }
        }
        (seen, lost)
    }

    fn add(events: &mut Events, values: std::ops::Range<u32>) {
        for value in values {
            events.add(Kind::Status, value, 1000 + u64::from(value));
        }
    }

    #[test]
    fn a_channel_that_was_gone_for_a_while_repeats_nothing() {
        let (mut events, mut reading) = (Events::new(), Reading::default());
        reading.opened();
        add(&mut events, 0..3);
        assert_eq!(read(&mut reading, &events), (vec![0, 1, 2], 0));
        reading.opened();
        assert_eq!(read(&mut reading, &events), (vec![], 0));
        reading.opened();
        add(&mut events, 3..5);
        assert_eq!(read(&mut reading, &events), (vec![3, 4], 0));
    }

    #[test]
    fn a_driver_that_was_started_anew_is_read_from_the_start() {
        let (mut events, mut reading) = (Events::new(), Reading::default());
        add(&mut events, 0..3);
        read(&mut reading, &events);
        for count in [1, 2, 3, 10] {
            let (mut anew, mut reading) = (Events::new(), reading);
            add(&mut anew, 100..100 + count);
            reading.opened();
            if count == 2 {
                // Its next event has the number that is asked for: it is waited for, and then all are read.
                assert_eq!(read(&mut reading, &anew).0, Vec::<u32>::new());
                add(&mut anew, 102..103);
                assert_eq!(read(&mut reading, &anew).0, [100, 101, 102]);
            } else {
                assert_eq!(read(&mut reading, &anew), ((100..100 + count).collect(), 0));
            }
        }
    }

    proptest! {
        /// Events seen and events said to be lost are all that there were, wherever the channel is opened anew.
        #[test]
        fn nothing_is_seen_twice_or_lost_silently(steps in proptest::collection::vec((0u32..90, any::<bool>()), 1..12)) {
            let (mut events, mut reading) = (Events::new(), Reading::default());
            let (mut added, mut all, mut missing) = (0, Vec::new(), 0);
            for (count, again) in steps {
                add(&mut events, added..added + count);
                added += count;
                if again {
                    reading.opened();
                }
                let (seen, lost) = read(&mut reading, &events);
                all.extend(seen);
                missing += lost;
            }
            prop_assert!(all.is_sorted());
            prop_assert_eq!(all.len() as u64 + missing, u64::from(added));
        }
    }
}
