//! Asking Xen where this virtual processor's time went, through `/dev/xen/privcmd`.
#![expect(unsafe_code, reason = "a hypercall that writes to a structure of ours")]

use std::fs::File;
use std::io;
use std::path::Path;

use bench::RunState;
use bench::runstate::{GET_RUNSTATE_INFO, HYPERVISOR_VCPU_OP};
use rustix::ioctl::{self, Opcode, Updater};

/// `struct privcmd_hypercall` (Linux: include/uapi/xen/privcmd.h).
#[repr(C)]
struct Hypercall {
    op: u64,
    arg: [u64; 5],
}

/// `IOCTL_PRIVCMD_HYPERCALL`: `_IOC(_IOC_NONE, 'P', 0, sizeof(struct privcmd_hypercall))`.
const PRIVCMD_HYPERCALL: Opcode =
    ioctl::opcode::from_components(ioctl::Direction::None, b'P', 0, size_of::<Hypercall>());

/// The way to Xen.
pub(crate) struct Hypervisor(File);

impl Hypervisor {
    /// Opens it.
    pub(crate) fn open() -> io::Result<Self> {
        let path = Path::new("/dev/xen/privcmd");
        let file = File::options().read(true).write(true).open(path);
        file.map(Self).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
    }

    /// Returns how a virtual processor has spent its time until now.
    pub(crate) fn run_state(&self, processor: u64) -> io::Result<RunState> {
        let mut state = RunState::default();
        let address = (&raw mut state).expose_provenance() as u64;
        let mut call =
            Hypercall { op: HYPERVISOR_VCPU_OP, arg: [GET_RUNSTATE_INFO, processor, address, 0, 0] };
        // SAFETY: the opcode takes a `struct privcmd_hypercall`; Xen writes one `RunState` to the address,
        // which is that of a local, in memory that was just written and is therefore present.
        unsafe { ioctl::ioctl(&self.0, Updater::<PRIVCMD_HYPERCALL, Hypercall>::new(&mut call)) }?;
        Ok(state)
    }
}
