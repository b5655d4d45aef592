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

/// First in, first out, in a byte buffer that is passed to each method: two bytes of length, then the payload.
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
