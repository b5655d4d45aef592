//! Interrupt request levels: a proof of DISPATCH_LEVEL as a type.
#![expect(unsafe_code, reason = "a constructor that states the level is unsafe")]

use core::marker::PhantomData;

/// Proof that the code runs at DISPATCH_LEVEL for as long as this value is borrowed. DPC routines
/// get one; it can neither be kept nor sent to another processor.
pub struct AtDispatch(PhantomData<*mut ()>);

impl AtDispatch {
    /// States that the processor is at DISPATCH_LEVEL now and stays there while the value lives.
    ///
    /// # Safety
    /// The caller runs at DISPATCH_LEVEL (a DPC, a Storport routine at that level, under a spin
    /// lock) and does not lower the IRQL while the value exists.
    #[must_use]
    pub const unsafe fn assume() -> Self {
        Self(PhantomData)
    }
}
