//! Hypercalls: the raw call as a trait, and the typed calls' shared part.
//!
//! A call passes a command and the guest-virtual address of an argument structure, which Xen reads and
//! writes. Typed calls live beside what they are for: [`crate::hvm`], [`crate::event_channel`],
//! [`crate::grant`], [`crate::sched`].
#![expect(unsafe_code, reason = "passes addresses of argument structures to Xen")]

#[cfg(target_arch = "x86_64")]
mod vm_call;

use core::fmt;

use zerocopy::{FromBytes, IntoBytes};

use crate::Frame;
use crate::wire::hypercall::{
    AddToPhysmap, DOMID_SELF, MEMORY_OP, RemoveFromPhysmap, XENMEM_ADD_TO_PHYSMAP, XENMEM_REMOVE_FROM_PHYSMAP,
};

#[cfg(target_arch = "x86_64")]
pub use vm_call::VmCall;

/// The raw hypercall. Any level.
///
/// # Safety
/// An implementation passes number and arguments on to Xen unchanged and returns its answer; besides what the
/// call is defined to do it changes nothing.
pub unsafe trait Hypercall {
    /// Makes hypercall `number`. Negative answers are −errno.
    ///
    /// # Safety
    /// Addresses among the arguments are valid, non-paged and of the type that the call defines; what the
    /// call does to the guest's memory map is what the caller wants.
    unsafe fn call(&self, number: u32, arguments: [u64; 5]) -> i64;
}

// SAFETY: forwards to the same implementation.
unsafe impl<H: Hypercall + ?Sized> Hypercall for &H {
    unsafe fn call(&self, number: u32, arguments: [u64; 5]) -> i64 {
        // SAFETY: the caller's promise.
        unsafe { (**self).call(number, arguments) }
    }
}

/// A hypercall that Xen refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// Xen's name of the call.
    pub call: &'static str,
    /// Xen's error number (`errno.h`), positive; 1 EPERM, 3 ESRCH, 22 EINVAL, 28 ENOSPC, 38 ENOSYS …
    pub errno: i64,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed with Xen error {}", self.call, self.errno)
    }
}

impl core::error::Error for Error {}

/// Returns the answer of a call as a result; one that is not negative, where the call has it mean something.
fn answered(call: &'static str, answer: i64) -> Result<u64, Error> {
    u64::try_from(answer).map_err(|_| Error { call, errno: answer.saturating_neg() })
}

/// Returns the answer of a call as a result.
fn check(call: &'static str, answer: i64) -> Result<(), Error> {
    answered(call, answer).map(|_| ())
}

/// Calls a command without an argument.
pub(crate) fn plain(
    hypercall: &impl Hypercall,
    call: &'static str,
    number: u32,
    command: u64,
) -> Result<(), Error> {
    // SAFETY: no address is passed; commands without an argument do not touch the memory map.
    check(call, unsafe { hypercall.call(number, [command, 0, 0, 0, 0]) })
}

/// Calls a command with one argument structure, of the type that the command takes.
pub(crate) fn with<T: FromBytes + IntoBytes>(
    hypercall: &impl Hypercall,
    call: &'static str,
    number: u32,
    command: u64,
    argument: &mut T,
) -> Result<(), Error> {
    with_answer(hypercall, call, number, command, argument).map(|_| ())
}

/// Does the same as [`with`], and returns the answer of a call that was not refused.
pub(crate) fn with_answer<T: FromBytes + IntoBytes>(
    hypercall: &impl Hypercall,
    call: &'static str,
    number: u32,
    command: u64,
    argument: &mut T,
) -> Result<u64, Error> {
    let address = core::ptr::from_mut(argument) as u64;
    // SAFETY: the address is that of a live structure of the command's type (crate-internal callers pair
    // them); any bytes that Xen writes are a valid value, as `T: FromBytes`. Commands passed here do not
    // touch the memory map.
    answered(call, unsafe { hypercall.call(number, [command, address, 1, 0, 0]) })
}

/// Makes a page of Xen's appear at a guest frame. `space` is one of `wire::hypercall::XENMAPSPACE_…`. Any
/// level.
///
/// # Errors
/// Xen's answer.
///
/// # Safety
/// What the guest has at `frame` is lost: it must be address space without memory behind it, such as a frame
/// of the platform device's memory BAR, that nobody uses.
pub unsafe fn add_to_physmap(
    hypercall: &impl Hypercall,
    space: u32,
    index: u64,
    frame: Frame,
) -> Result<(), Error> {
    let mut argument = AddToPhysmap { domid: DOMID_SELF, size: 0, space, idx: index, gpfn: frame.0 };
    let address = core::ptr::from_mut(&mut argument) as u64;
    // SAFETY: the address is that of a live structure of the command's type; the caller gives the frame away.
    check("XENMEM_add_to_physmap", unsafe {
        hypercall.call(MEMORY_OP, [XENMEM_ADD_TO_PHYSMAP, address, 0, 0, 0])
    })
}

/// Takes away what [`add_to_physmap`] put at a guest frame. Any level.
///
/// # Errors
/// Xen's answer.
///
/// # Safety
/// The frame holds what `add_to_physmap` put there, and nobody uses it any more.
pub unsafe fn remove_from_physmap(hypercall: &impl Hypercall, frame: Frame) -> Result<(), Error> {
    let mut argument = RemoveFromPhysmap { domid: DOMID_SELF, pad: [0; 3], gpfn: frame.0 };
    let address = core::ptr::from_mut(&mut argument) as u64;
    // SAFETY: the address is that of a live structure of the command's type; the caller gives the frame up.
    check("XENMEM_remove_from_physmap", unsafe {
        hypercall.call(MEMORY_OP, [XENMEM_REMOVE_FROM_PHYSMAP, address, 0, 0, 0])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Hypervisor;
    use crate::wire::hypercall::{XENMAPSPACE_GRANT_TABLE, XENMAPSPACE_SHARED_INFO};

    #[test]
    fn pages_appear_and_go() {
        let xen = Hypervisor::default();
        // SAFETY: the fake has no memory behind its frames.
        unsafe {
            add_to_physmap(&xen, XENMAPSPACE_SHARED_INFO, 0, Frame(0xF_0000)).unwrap();
            assert_eq!(xen.physmap.borrow()[&0xF_0000], (XENMAPSPACE_SHARED_INFO, 0));
            remove_from_physmap(&xen, Frame(0xF_0000)).unwrap();
            assert!(xen.physmap.borrow().is_empty());
        }
    }

    #[test]
    fn xens_error_names_the_call() {
        let xen = Hypervisor::default();
        // SAFETY: as above.
        let error = unsafe { add_to_physmap(&xen, XENMAPSPACE_GRANT_TABLE, 64, Frame(1)) }.unwrap_err();
        assert_eq!(error, Error { call: "XENMEM_add_to_physmap", errno: 22 });
        assert_eq!(std::format!("{error}"), "XENMEM_add_to_physmap failed with Xen error 22");
        assert_eq!(check("x", i64::MIN), Err(Error { call: "x", errno: i64::MAX }));
        assert_eq!(check("x", 1), Ok(()));
    }
}
