//! Watch events that arrived while the client was doing something else.

/// A watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchEvent<'c> {
    /// A watched node, or one below it, may have changed. A new watch fires once at its start.
    Fired {
        /// The node, in the form (absolute or relative) that the watch had.
        path: &'c str,
        /// The watch's token.
        token: &'c str,
    },
    /// Events were dropped for want of memory: every watched node may have changed.
    Lost,
}

impl<'c> WatchEvent<'c> {
    /// Takes the payload of a WATCH_EVENT apart: path, NUL, token, NUL.
    pub(super) fn parse(payload: &'c [u8]) -> Option<Self> {
        let text = core::str::from_utf8(payload).ok()?;
        let (path, token) = text.strip_suffix('\0')?.split_once('\0')?;
        (!path.is_empty() && !token.contains('\0')).then_some(Self::Fired { path, token })
    }
}

/// First in, first out, in a byte buffer that is passed to each method: two bytes of length, then the
/// payload.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Queue {
    head: usize,
    tail: usize,
    lost: bool,
}

impl Queue {
    /// Keeps a payload, or remembers that one was lost.
    pub(super) fn push(&mut self, memory: &mut [u8], payload: &[u8]) {
        let size = payload.len() + 2;
        if memory.len() - self.tail < size {
            memory.copy_within(self.head..self.tail, 0);
            self.tail -= self.head;
            self.head = 0;
        }
        let Some(record) = memory.get_mut(self.tail..self.tail + size) else {
            self.lost = true;
            return;
        };
        // A payload is at most 4096 bytes.
        record[..2].copy_from_slice(&(payload.len() as u16).to_le_bytes());
        record[2..].copy_from_slice(payload);
        self.tail += size;
    }

    /// Takes the oldest event; [`WatchEvent::Lost`] after those that were kept.
    pub(super) fn pop<'c>(&mut self, memory: &'c [u8]) -> Option<WatchEvent<'c>> {
        if let Some((length, rest)) = memory[self.head..self.tail].split_first_chunk() {
            let length = usize::from(u16::from_le_bytes(*length));
            self.head += 2 + length;
            return WatchEvent::parse(&rest[..length]);
        }
        core::mem::take(&mut self.lost).then_some(WatchEvent::Lost)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::format;
    use std::string::String;
    use std::vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn payloads_are_path_and_token() {
        assert_eq!(WatchEvent::parse(b"a/b\0t\0"), Some(WatchEvent::Fired { path: "a/b", token: "t" }));
        assert_eq!(WatchEvent::parse(b"a\0\0"), Some(WatchEvent::Fired { path: "a", token: "" }));
        for wrong in
            [&b""[..], b"\0", b"a", b"a\0", b"a\0t", b"\0t\0", b"a\0t\0\0", b"a\0t\0u\0", b"\xFF\0t\0"]
        {
            assert_eq!(WatchEvent::parse(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        /// Events come out in the order they went in; those that do not fit are reported once, after the
        /// others.
        #[test]
        fn the_queue_is_in_order(
            size in 0usize..60,
            steps in prop::collection::vec(prop::option::weighted(0.6, "[a-z]{1,9}"), 0..60),
        ) {
            let mut memory = vec![0; size];
            let mut queue = Queue::default();
            let mut model: VecDeque<String> = VecDeque::new();
            let mut lost = false;
            for step in steps {
                if let Some(path) = step {
                    let used: usize = model.iter().map(|path| path.len() + 5).sum();
                    queue.push(&mut memory, format!("{path}\0t\0").as_bytes());
                    if used + path.len() + 5 <= size {
                        model.push_back(path);
                    } else {
                        lost = true;
                    }
                    continue;
                }
                let expected = match model.pop_front() {
                    Some(path) => Some((path, String::from("t"))),
                    None if core::mem::take(&mut lost) => None,
                    None => {
                        prop_assert_eq!(queue.pop(&memory), None);
                        continue;
                    }
                };
                match (queue.pop(&memory), expected) {
                    (Some(WatchEvent::Fired { path, token }), Some(expected)) => {
                        prop_assert_eq!((path, token), (&*expected.0, &*expected.1));
                    }
                    (Some(WatchEvent::Lost), None) => {}
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
