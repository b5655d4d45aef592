//! The interface by which a frontend uses the system it runs in.
#![expect(unsafe_code, reason = "declares an unsafe trait")]

use core::fmt;

use crate::{GrantRef, Port, SharedPage, grant};

/// Services for a frontend: grants, notifications and pages to share.
///
/// All methods are called at *dispatch* (a spin lock may be held), but for the two page methods, which are
/// called at *passive*.
///
/// # Safety
/// A frontend hands frame numbers to another domain and trusts the answers of this trait for the safety of
/// the guest's memory. An implementation promises for each method what its section *Implementation* says.
pub unsafe trait Hal {
    /// Returns the entries of the grant table, in which a frontend makes and ends its grants; none where there is no
    /// table.
    ///
    /// # Implementation
    /// Xen reads these entries, and they stay mapped until the frontend is dropped. Called at *passive*.
    fn grant_entries(&self) -> Option<grant::Entries>;

    /// Hands out free grant references, as many as `into` has places for and there are; answers their number.
    ///
    /// # Implementation
    /// They are entries of [`Hal::grant_entries`], and nobody else's until [`Hal::give_references`]; no other domain can
    /// reach a page by one of them. Must not wait and must not allocate.
    fn take_references(&self, into: &mut [GrantRef]) -> usize;

    /// Takes references back.
    ///
    /// # Implementation
    /// One by which another domain has a page mapped is never handed out again.
    fn give_references(&self, references: &[GrantRef]);

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
    fn grant_entries(&self) -> Option<grant::Entries> {
        (**self).grant_entries()
    }

    fn take_references(&self, into: &mut [GrantRef]) -> usize {
        (**self).take_references(into)
    }

    fn give_references(&self, references: &[GrantRef]) {
        (**self).give_references(references);
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
