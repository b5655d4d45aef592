//! Xenstore: nodes by path, watches, transactions; `docs/misc/xenstore.txt`, `io/xs_wire.h`.
//!
//! [`Client`] speaks to xenstored over the two byte rings of the store page ([`Ring`]). It waits through a
//! [`Transport`], which polls before interrupts work and sleeps on an event later; the client is the same.
//! [`Store`] is the little that a frontend needs, so that it works over a client as well as over another
//! driver's interface.
//!
//! ```
//! use xen::fake;
//! use xen::store::{Client, Store};
//!
//! # fn main() -> Result<(), xen::store::Error> {
//! let server = fake::Xenstored::new();
//! server.set("device/vbd/768/state", "1");
//! let mut client = Client::new(server.ring(), server.transport(), vec![0; 8192])?;
//!
//! let mut buffer = [0; 16];
//! assert_eq!(client.read("device/vbd/768/state", &mut buffer)?, b"1");
//! assert!(client.directory("device/vbd", &mut buffer)?.eq(["768"]));
//! # Ok(())
//! # }
//! ```

mod client;
mod error;
mod events;
pub mod path;
mod polling;
mod ring;
mod value;

pub use client::{Client, PAYLOAD_BUFFER, Transport, Within};
pub use error::{Errno, Error, Fault};
pub use events::WatchEvent;
pub use polling::Polling;
pub use ring::Ring;
pub use value::{Names, number, read_number, read_optional, read_state};

/// Nodes by path. Paths are absolute, or relative to the guest's own directory `/local/domain/<domid>`.
/// *Passive*.
pub trait Store {
    /// Reads a node into `into`; answers the part that was filled.
    ///
    /// # Errors
    /// [`Error::NoSpace`] where `into` is too small, besides what the connection answers.
    fn read<'b>(&mut self, path: &str, into: &'b mut [u8]) -> Result<&'b [u8], Error>;

    /// Writes a node, making it where it does not exist.
    ///
    /// # Errors
    /// What the connection answers.
    fn write(&mut self, path: &str, value: &[u8]) -> Result<(), Error>;

    /// Removes a node and all below it.
    ///
    /// # Errors
    /// What the connection answers.
    fn remove(&mut self, path: &str) -> Result<(), Error>;

    /// Names of a node's children, kept in `into`.
    ///
    /// # Errors
    /// As [`Store::read`].
    fn directory<'b>(&mut self, path: &str, into: &'b mut [u8]) -> Result<Names<'b>, Error>;
}
