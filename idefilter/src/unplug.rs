//! qemu's unplug protocol (Xen, docs/misc/hvm-emulated-unplug.pandoc; hvm/pvdrivers.h), and its log port.
#![expect(unsafe_code, reason = "uses the I/O ports that the protocol assigns")]

use core::fmt::{self, Write};

use guard::machine::Unplug;
use wdm::{debug::Line, port::Port};

/// Read u16: the magic. Write u32: the driver's build. Write u16: what to unplug.
// SAFETY: the protocol assigns the port on a machine with a Xen platform device. Elsewhere it is unassigned,
// or an alias of the DMA controller's first address register, and reading it has no effect. It is written
// only after the magic was read.
const MAGIC_PORT: Port = unsafe { Port::new(0x10) };
/// Read u8: the protocol's version. Write u16: the product. Write u8: a character for the log.
// SAFETY: as above.
const PRODUCT_PORT: Port = unsafe { Port::new(0x12) };

/// The machine understands the protocol and takes this driver.
const MAGIC: u16 = 0x49D2;
/// It understands the protocol, and does not take this driver so far.
const REFUSED: u16 = 0xD249;
/// The product number for drivers without a registered one (hvm/pvdrivers.h, "experimental").
const PRODUCT: u16 = 0xFFFF;
/// The build that qemu's log names.
const BUILD: u32 = 1;
/// Bit 0: all IDE and SCSI disks, not CD-ROMs. Not bit 3, NVMe disks: qemu 7.2 aborts over it, and with it goes the
/// guest. Their controllers are hidden.
const DISKS: u16 = 1 << 0;

/// Runs the protocol: asks the machine to remove its emulated disks where that is `wanted`. Only under Xen.
/// Takes some milliseconds. PASSIVE_LEVEL.
pub(crate) fn run(wanted: bool) -> Unplug {
    if !wanted {
        return Unplug::NotAsked;
    }
    if !is_taken() {
        return Unplug::Refused;
    }
    MAGIC_PORT.write_u16(DISKS);
    Unplug::Acknowledged
}

/// Tells the machine this driver's name. Returns true if the machine takes the protocol from it. Takes
/// nothing away. Only under Xen. PASSIVE_LEVEL.
pub(crate) fn is_taken() -> bool {
    if !is_supported() {
        return false;
    }
    if PRODUCT_PORT.read_u8() >= 1 {
        PRODUCT_PORT.write_u16(PRODUCT);
        MAGIC_PORT.write_u32(BUILD);
    }
    // Read again: a machine that refuses this driver says so now that it knows it.
    MAGIC_PORT.read_u16() == MAGIC
}

/// Returns true if the machine has the two ports.
fn is_supported() -> bool {
    matches!(MAGIC_PORT.read_u16(), MAGIC | REFUSED)
}

/// Writes one line to qemu's log, where there is one. Any IRQL; a character takes about a millisecond on a
/// slow machine, so this is for a system that is about to stop.
pub(crate) fn log(text: fmt::Arguments<'_>) {
    if !is_supported() {
        return;
    }
    let mut line = Line::new();
    // Writing to a Line does not fail.
    let _ = writeln!(line, "{text}");
    for &byte in line.as_bytes() {
        PRODUCT_PORT.write_u8(byte);
    }
}
