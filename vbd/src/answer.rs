//! The answer to an SRB that the frontend refuses or the backend fails.

use scsi::Sense;
use xen::blkif::{self, Failure, Operation};

use crate::Answer;

/// Returns the answer to an SRB of which nothing could be sent.
pub(crate) fn refusal(error: &blkif::Error) -> Answer {
    match error {
        blkif::Error::NotConnected | blkif::Error::Broken(_) => Answer::NoDevice,
        blkif::Error::FlushUnsupported | blkif::Error::DiscardUnsupported => {
            Answer::Sense(Sense::INVALID_OPCODE)
        }
        blkif::Error::ReadOnly => Answer::Sense(Sense::WRITE_PROTECTED),
        blkif::Error::Range { .. } | blkif::Error::Block { .. } => Answer::Sense(Sense::OUT_OF_RANGE),
        _ => Answer::Sense(Sense::TARGET_FAILURE),
    }
}

/// The answer to a flush that the backend says has failed: a write error that names no block, which initiators do
/// not try again.
///
/// Linux tells one flush that what it had cached could not be written, and answers the next one as if nothing were
/// missing (`errseq_t`). So a flush that is tried again says nothing of the writes before it.
pub(crate) const FLUSH_FAILED: Answer = Answer::Sense(Sense::WRITE_ERROR);

/// Returns the answer to an SRB of which a part failed, if it is no flush that the backend says has failed.
///
/// A backend has one answer for everything that may go wrong: no memory in its domain, a grant that could not be
/// mapped, a path that is lost for a moment, a medium that is bad. So it is a fault on the way, which initiators
/// try again, and not a bad block, which they do not. A write that is tried again brings its data with it.
pub(crate) fn failure(failure: Failure, operation: Operation) -> Answer {
    match (failure, operation) {
        (Failure::Backend, _) => Answer::Sense(Sense::TRANSPORT_FAULT),
        (Failure::NotSupported, Operation::Discard) => Answer::Sense(Sense::INVALID_OPCODE),
        (Failure::NotSupported | Failure::Unsent, _) => Answer::Sense(Sense::TARGET_FAILURE),
        (Failure::Broken | Failure::Disconnected, _) => Answer::NoDevice,
    }
}
