//! The processors that the firmware lists in its MP configuration table.
//!
//! Source: MultiProcessor Specification 1.4, 4.1 (floating pointer structure), 4.2 (header), 4.3.1 (processor
//! entries).

use alloc::vec::Vec;

use crate::mm::direct;

/// The addresses searched for the floating pointer, in steps of 16 bytes. The table is there, too.
const BIOS: core::ops::Range<u64> = 0xE_0000..0x10_0000;
/// Bytes of the table's header.
const HEADER: usize = 44;
/// An entry for a processor: its type, its length, and its flag for a processor that is usable.
const PROCESSOR: u8 = 0;
const PROCESSOR_LENGTH: usize = 20;
const ENABLED: u8 = 1;

/// Returns the number of bytes of the BIOS area from `physical` on; empty elsewhere.
fn bios<'a>(physical: u64) -> &'a [u8] {
    if !BIOS.contains(&physical) {
        return &[];
    }
    let length = (BIOS.end - physical) as usize;
    // SAFETY: the direct map covers the first MiB, and the firmware's tables do not change.
    unsafe { core::slice::from_raw_parts(direct(physical) as *const u8, length) }
}

/// Returns the ids of the usable processors' local APICs; empty without a table.
pub(crate) fn processors() -> Vec<u8> {
    let pointer = BIOS.step_by(16).map(bios).find(|at| at.starts_with(b"_MP_"));
    let table = pointer.and_then(|at| at[4..8].try_into().ok()).map(|at| bios(u32::from_le_bytes(at).into()));
    let table = table.filter(|table| table.starts_with(b"PCMP") && table.len() > HEADER).unwrap_or_default();
    // Processors come first (4.3).
    let entries = table.get(HEADER..).unwrap_or_default().chunks_exact(PROCESSOR_LENGTH);
    let processors = entries.take_while(|entry| entry[0] == PROCESSOR);
    processors.filter(|entry| entry[3] & ENABLED != 0).map(|entry| entry[1]).collect()
}
