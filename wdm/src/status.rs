//! NTSTATUS as a type, and the `Result` that carries it.

use core::fmt;

/// An NTSTATUS: negative values (severity warning or error) are failures.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct NtStatus(pub i32);

/// The result of a routine that can fail: the error is always a failing [`NtStatus`].
pub type Result<T = ()> = core::result::Result<T, NtStatus>;

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        impl NtStatus { $($(#[$doc])* pub const $name: Self = Self($value as u32 as i32);)* }
    };
}

// Values: [MS-ERREF] 2.3.1.
statuses! {
    /// The operation is done.
    SUCCESS = 0x0000_0000,
    /// A wait ended by its timeout.
    TIMEOUT = 0x0000_0102,
    /// The request will be completed later.
    PENDING = 0x0000_0103,
    /// A list was longer than the buffer; what fits was written.
    BUFFER_OVERFLOW = 0x8000_0005,
    /// An enumeration is at its end.
    NO_MORE_ENTRIES = 0x8000_001A,
    /// Any failure without a better name.
    UNSUCCESSFUL = 0xC000_0001,
    /// Not implemented.
    NOT_IMPLEMENTED = 0xC000_0002,
    /// The size of a buffer does not fit the request.
    INFO_LENGTH_MISMATCH = 0xC000_0004,
    /// A parameter is wrong.
    INVALID_PARAMETER = 0xC000_000D,
    /// There is no such device.
    NO_SUCH_DEVICE = 0xC000_000E,
    /// The device does not take this request.
    INVALID_DEVICE_REQUEST = 0xC000_0010,
    /// A completion routine keeps the IRP for its driver.
    MORE_PROCESSING_REQUIRED = 0xC000_0016,
    /// Access denied.
    ACCESS_DENIED = 0xC000_0022,
    /// The buffer is too small and nothing was written.
    BUFFER_TOO_SMALL = 0xC000_0023,
    /// An object or a value is not of the type that was asked for.
    OBJECT_TYPE_MISMATCH = 0xC000_0024,
    /// A name was not found (a key or a value of the registry, a device name).
    OBJECT_NAME_NOT_FOUND = 0xC000_0034,
    /// A name exists already.
    OBJECT_NAME_COLLISION = 0xC000_0035,
    /// The object is being deleted; answered to I/O after a remove lock is closed.
    DELETE_PENDING = 0xC000_0056,
    /// A version or revision is unknown.
    REVISION_MISMATCH = 0xC000_0059,
    /// Out of pool or of another resource.
    INSUFFICIENT_RESOURCES = 0xC000_009A,
    /// The device is there but not ready.
    DEVICE_NOT_READY = 0xC000_00A3,
    /// The request is not supported; PnP's "I did not handle this".
    NOT_SUPPORTED = 0xC000_00BB,
    /// The device broke its protocol.
    DEVICE_PROTOCOL_ERROR = 0xC000_0186,
    /// The device's resources or registry values make no sense.
    DEVICE_CONFIGURATION_ERROR = 0xC000_0182,
    /// The device answered with an I/O error.
    IO_DEVICE_ERROR = 0xC000_0185,
    /// A name is longer than a counted string can be.
    NAME_TOO_LONG = 0xC000_0106,
    /// The device cannot be removed now.
    DEVICE_BUSY = 0x8000_0011,
    /// The request was cancelled.
    CANCELLED = 0xC000_0120,
    /// The thing that was looked for is not there.
    NOT_FOUND = 0xC000_0225,
    /// A driver or its device was removed.
    DEVICE_REMOVED = 0xC000_02B6,
    /// A routine of that name is not exported.
    PROCEDURE_NOT_FOUND = 0xC000_007A,
}

impl NtStatus {
    /// Returns true if this is a success or an informational value.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.0 >= 0
    }

    /// Returns `Ok` for a success or informational value, else `Err(self)`.
    ///
    /// # Errors
    /// `self`, where it is a failure.
    pub const fn to_result(self) -> Result {
        if self.is_success() { Ok(()) } else { Err(self) }
    }
}

impl From<Result> for NtStatus {
    fn from(result: Result) -> Self {
        match result {
            Ok(()) => Self::SUCCESS,
            Err(status) => status,
        }
    }
}

impl fmt::Debug for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl fmt::Display for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Turns what a binding returns into a [`Result`].
pub(crate) fn check(status: wdk_sys::NTSTATUS) -> Result {
    NtStatus(status).to_result()
}
