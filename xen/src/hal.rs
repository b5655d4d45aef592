//! The interface by which a frontend uses the system it runs in.
#![expect(unsafe_code, reason = "declares an unsafe trait")]

use core::fmt;

use crate::{Access, DomainId, Frame, GrantRef, Port, SharedPage, grant};

/// Services for a frontend: grants, notifications and pages to share.
///
/// All methods are called at *dispatch* (a spin lock may be held), but for the two page methods, which are
/// called at *passive*.
///
/// # Safety
/// A frontend hands frame numbers to another domain and trusts the answers of this trait for the safety of
/// the guest's memory. An implementation promises for each method what its section *Implementation* says.
pub unsafe trait Hal {
    /// Lets `domain` reach the guest's page `frame`.
    ///
    /// # Implementation
    /// A reference that is returned is not in use by anyone else and stays valid until [`Hal::end_access`]
    /// returns `Ok` for it. Exactly this frame is granted, read-only if so asked. Must not wait and must not
    /// allocate.
    ///
    /// # Errors
    /// No reference is free, or the frame cannot be expressed; nothing is granted then.
    fn grant_access(&self, domain: DomainId, frame: Frame, access: Access) -> Result<GrantRef, grant::Error>;

    /// Ends a grant.
    ///
    /// # Implementation
    /// `Ok` only when the other domain can no longer reach the page. On an error the reference is leaked:
    /// neither ended nor ever handed out again.
    ///
    /// # Errors
    /// [`grant::Error::InUse`]: the other domain has the page mapped.
    fn end_access(&self, reference: GrantRef) -> Result<(), grant::Error>;

    /// Notifies the other end of an event channel.
    ///
    /// # Implementation
    /// Ordered after every earlier memory access.
    fn notify(&self, port: Port);

    /// Returns a page for sharing, or none. The crate zeroes it before it is granted.
    ///
    /// # Implementation
    /// The page is owned by the caller until [`Hal::free_shared_page`]; the promises of [`SharedPage::new`]
    /// hold.
    fn alloc_shared_page(&self) -> Option<SharedPage>;

    /// Returns a page. A page that another domain may still reach is never returned; it is forgotten instead.
    ///
    /// # Safety
    /// The page came from this hal's [`Hal::alloc_shared_page`], and no grant of it is left.
    unsafe fn free_shared_page(&self, page: SharedPage);

    /// Writes a line to the driver's log; rare events only.
    fn log(&self, message: fmt::Arguments<'_>);
}

// SAFETY: every method forwards to the same implementation.
unsafe impl<H: Hal + ?Sized> Hal for &H {
    fn grant_access(&self, domain: DomainId, frame: Frame, access: Access) -> Result<GrantRef, grant::Error> {
        (**self).grant_access(domain, frame, access)
    }

    fn end_access(&self, reference: GrantRef) -> Result<(), grant::Error> {
        (**self).end_access(reference)
    }

    fn notify(&self, port: Port) {
        (**self).notify(port);
    }

    fn alloc_shared_page(&self) -> Option<SharedPage> {
        (**self).alloc_shared_page()
    }

    unsafe fn free_shared_page(&self, page: SharedPage) {
        // SAFETY: the caller's promise.
        unsafe { (**self).free_shared_page(page) }
    }

    fn log(&self, message: fmt::Arguments<'_>) {
        (**self).log(message);
    }
}
