//! The copy of this driver that writes a crash dump, or a hibernation file.
//!
//! NT loads a second copy of the boot disk's miniport when it sets up the page file (`dump_xenvbd.sys`), and
//! runs nothing of it before it is needed. What the image imports of Storport is bound to the dump port driver (diskdump.sys); the other drivers that it imports from come as fresh copies
//! too, `dump_xenpci.sys` and `dump_idefilter.sys`, whose `DriverEntry` never runs. This copy calls none of
//! them. What it may do is in the documentation's "Restrictions on Miniport Drivers that Manage the Boot
//! Drive"; what that leaves open is read the stricter way:
//!
//! | | |
//! |---|---|
//! | told by | `DriverEntry` without arguments, "dump=1" in `HwFindAdapter`'s argument string |
//! | IRQL | above DISPATCH throughout, interrupts off, one processor: no pool, registry, thread, lock, event, mapping |
//! | memory | the image's own ([`wdm::arena`]): it needs no uncached extension, of which no more than 32 KiB may be asked for |
//! | mapping | `StorPortGetDeviceBase` in `HwFindAdapter`, as a driver of real hardware maps its registers |
//! | time | the processor's time stamp counter, its rate measured against `StorPortStallExecution`; no clock of the system's |
//! | requests | one at a time, of at most 64 KiB; each is complete when `HwStartIo` returns, so `HwInterrupt` has nothing to poll |
//! | resets of the bus | disregarded |
//! | target ids | those of the running system |
//!
//! # What it trusts
//! Nothing in the memory of the system that stopped, besides the page tables. [`platform`] finds Xen by
//! CPUID, makes hypercalls by the processor's instruction, finds xenstore through Xen's parameters and
//! takes its ring over wherever the crashed xenpci stopped using it, and has a frame of grant table that the
//! running system never uses ([`xen::grant::shares`]), in the platform device's BAR, which it finds in
//! configuration space. `MiniportDumpData` is not used: NT 5.2 has no way to give it, and what it would say
//! is in xenstore, in dom0's memory.
//!
//! # When it refuses
//! The invariant is the guard's: a disk is written to through the path by which it is mounted. In xenstore a
//! vbd has the node [`xen::blkif::polled::TARGET`] only while the running xenvbd shows its disk, which it
//! does with the guard's leave; and its frontend is connected only by xenvbd. Without both, for any disk,
//! `HwFindAdapter` finds no adapter; for the one that a request names, the request ends with "no device". So
//! in an emulated boot nothing is touched, and only the disk asked for is taken over, once, at the first
//! request that names it.
//!
//! # When something does not answer
//! Every wait ends by the time stamp counter, however long the hypervisor keeps the processor: [`platform::STORE_SECONDS`] for all of xenstore's
//! answers up to the connection, [`disk::HANDSHAKE_SECONDS`] for the backend, [`disk::REQUEST_SECONDS`] for a
//! request. What fails stays failed: every later request ends with an error at once, and NT stops without a
//! dump instead of waiting.
//!
//! # Hibernation
//! NT starts a copy the same way to write a hibernation file (`hiber_xenvbd.sys`), with the processors held
//! and the devices set to S4. The system goes on afterwards, here or in another domain, so the copy may only
//! take what the running drivers have let go of and will take back: xenpci does that when it is set to S4,
//! and masks xenstore's port by it. Where no bugcheck is under way, which the kernel's `KiBugCheckData`
//! tells, and the port is not masked, the copy refuses before it has touched anything, and NT does not
//! hibernate.
//!
//! From NT 6.2 on a part of the file is read through the copy when the system comes back, in a domain where nothing of
//! the above is there to be asked. So a copy that is told a purpose (`DumpMode`) serves that of a crash dump only. An
//! NT may start an image more than once: each start begins with all of the image's memory.

mod callbacks;
mod disk;
mod platform;
mod port_driver;

pub(crate) use callbacks::register;
