//! An SRB as the I/O path sees it.
#![expect(unsafe_code, reason = "declares an unsafe trait")]

use core::ptr::NonNull;

use scsi::Sense;
use xen::blkif;

use crate::Request;
use crate::memory::Window;

/// An SRB (SCSI request block) of the port driver's, from the call that brings it until [`Srb::complete`].
///
/// # Safety
/// A queue links requests through their SRBs' extensions and copies data to and from their buffers. An
/// implementation promises for each method what its section *Implementation* says.
pub unsafe trait Srb: Send + Sized {
    /// Address space through which buffers are copied.
    type Window: Window;
    /// The scatter-gather list of an SRB's buffer.
    type List: blkif::ScatterList + Copy + Send;

    /// Returns the number of bytes of the data buffer.
    fn data_length(&self) -> u32;

    /// Returns the system address of the data buffer of a command that is no read or write, if it has one.
    /// The port driver maps no other buffer, on any version of NT (documentation of MapBuffers).
    ///
    /// # Implementation
    /// [`Srb::data_length`] bytes from there on are readable until the SRB is completed, and belong to it alone.
    fn parameters(&self) -> Option<NonNull<u8>>;

    /// Returns the memory for the SRB's request.
    ///
    /// # Implementation
    /// Size and alignment of a [`Request`], at the same address each time; the caller's alone until the SRB is
    /// completed.
    fn extension(&self) -> Option<NonNull<Request<Self>>>;

    /// Returns the scatter-gather list of the data buffer, if there is one.
    ///
    /// # Implementation
    /// The list stays as it is, and its memory is resident and the SRB's alone, to be read, and to be written if
    /// the command reads from the disk, until the SRB is completed.
    fn scatter_list(&self) -> Option<Self::List>;

    /// Ends the SRB. The port driver may reuse the SRB, its extension and its buffer from here on.
    fn complete(self, answer: Answer);
}

/// The answer to an SRB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done, with this many bytes of data.
    Done {
        /// Bytes that a SCSI command moved; fewer than asked for is an underrun, reported as such.
        transferred: u32,
    },
    /// CHECK CONDITION with sense data.
    Sense(Sense),
    /// Nothing is at this address.
    NoDevice,
    /// The SRB makes no sense here.
    InvalidRequest,
    /// Given up by a reset before it was begun.
    Reset,
    /// Nothing can be sent now: the port driver tries again.
    Busy,
    /// Not done.
    Failed,
}
