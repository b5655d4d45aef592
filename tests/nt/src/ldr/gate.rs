//! Gates: what a driver's import table points to.
//!
//! Every import of a driver leads through a stub of its own that notes the caller and checks the routine's
//! documented IRQL before it jumps on to the routine. So the rules hold for every driver and every exported
//! routine, and a routine can tell whose request it serves.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use super::exports::Export;
use crate::inject;
use crate::ke::{Lock, irql, processor};
use crate::mm::map;
use crate::mm::space::IMAGES;
use crate::nt::PAGE_SIZE;
use crate::verifier::{Violation, violation};

/// Data of a gate.
struct Gate {
    export: &'static Export,
    driver: usize,
    attributed: bool,
    /// The failure where faults are injected: its kind, and the answer.
    fault: Option<(inject::Kind, u64)>,
}

/// Bytes of a stub; a multiple of the cache line.
const STUB: usize = 128;

struct Stubs {
    pages: Vec<usize>,
    used: usize,
}

static STUBS: Lock<Stubs> = Lock::new(Stubs { pages: Vec::new(), used: PAGE_SIZE });

/// Routines that ask [`caller`] on whose behalf they run. They alone learn it, because one that does not
/// ask would leave the note for the next.
const ATTRIBUTED: &[&str] = &[
    "ExAllocatePool",
    "ExAllocatePoolWithTag",
    "IoAllocateIrp",
    "IoAllocateWorkItem",
    "IoBuildDeviceIoControlRequest",
    "IoBuildSynchronousFsdRequest",
    "IoGetDeviceInterfaces",
    "IoRegisterDeviceInterface",
    "IoAllocateMdl",
    "KeReleaseSpinLock",
    "PsCreateSystemThread",
];

/// Returns a gate for a driver's use of an export: the address to put into its import table.
pub(crate) fn make(export: &'static Export, driver: usize) -> usize {
    if !export.code {
        return export.address();
    }
    let attributed = ATTRIBUTED.contains(&export.name);
    let fault = inject::routine(export.name);
    let gate: &'static Gate = Box::leak(Box::new(Gate { export, driver, attributed, fault }));
    let mut code = Vec::with_capacity(STUB);
    // Keep the argument registers; call `pass(gate, return address)`; jump to the routine with the stack as
    // the caller left it, or answer for it.
    code.extend_from_slice(&[0x51, 0x52, 0x41, 0x50, 0x41, 0x51]); // push rcx, rdx, r8, r9
    code.extend_from_slice(&[0x48, 0x83, 0xEC, 0x28]); // sub rsp, 28h
    code.extend_from_slice(&[0x48, 0xB9]); // mov rcx, gate
    code.extend_from_slice(&(core::ptr::from_ref(gate) as usize).to_le_bytes());
    code.extend_from_slice(&[0x48, 0x8B, 0x54, 0x24, 0x48]); // mov rdx, [rsp+48h]
    code.extend_from_slice(&[0x48, 0xB8]); // mov rax, pass
    code.extend_from_slice(&(pass as *const () as usize).to_le_bytes());
    code.extend_from_slice(&[0xFF, 0xD0]); // call rax
    code.extend_from_slice(&[0x48, 0x83, 0xC4, 0x28]); // add rsp, 28h
    code.extend_from_slice(&[0x41, 0x59, 0x41, 0x58, 0x5A, 0x59]); // pop r9, r8, rdx, rcx
    code.extend_from_slice(&[0x84, 0xC0, 0x75, 0x0C]); // test al, al; jnz the answer
    code.extend_from_slice(&[0x48, 0xB8]); // mov rax, routine
    code.extend_from_slice(&export.address().to_le_bytes());
    code.extend_from_slice(&[0xFF, 0xE0]); // jmp rax
    code.extend_from_slice(&[0x48, 0xB8]); // mov rax, answer
    code.extend_from_slice(&fault.map_or(0, |(_, answer)| answer).to_le_bytes());
    code.push(0xC3); // ret
    place(&code)
}

/// Counts of calls by other drivers of the routines of a driver's file, by the file's name.
static CALLS: Lock<Vec<(String, &'static AtomicU64)>> = Lock::new(Vec::new());

fn counter(file: &str) -> &'static AtomicU64 {
    let mut calls = CALLS.lock();
    if let Some((_, counter)) = calls.iter().find(|(name, _)| name.eq_ignore_ascii_case(file)) {
        return counter;
    }
    let counter: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
    calls.push((file.to_string(), counter));
    counter
}

/// Returns the number of calls by other drivers of routines that this file exports.
pub(crate) fn calls(file: &str) -> u64 {
    counter(file).load(Ordering::Relaxed)
}

/// Returns a gate to a routine that a driver's file exports to other drivers: it only counts.
pub(crate) fn between_drivers(file: &str, routine: usize) -> usize {
    let mut code = Vec::with_capacity(STUB);
    code.extend_from_slice(&[0x48, 0xB8]); // mov rax, counter
    code.extend_from_slice(&(core::ptr::from_ref(counter(file)) as usize).to_le_bytes());
    code.extend_from_slice(&[0xF0, 0x48, 0xFF, 0x00]); // lock inc qword [rax]
    code.extend_from_slice(&[0x48, 0xB8]); // mov rax, routine
    code.extend_from_slice(&routine.to_le_bytes());
    code.extend_from_slice(&[0xFF, 0xE0]); // jmp rax
    place(&code)
}

fn place(code: &[u8]) -> usize {
    assert!(code.len() <= STUB);
    let mut stubs = STUBS.lock();
    if stubs.used + STUB > PAGE_SIZE {
        let page = IMAGES.allocate(1, map::EXECUTE).expect("memory for gates");
        stubs.pages.push(page);
        stubs.used = 0;
    }
    let address = stubs.pages[stubs.pages.len() - 1] + stubs.used;
    stubs.used += STUB;
    let physical = map::translate(address).expect("the page was just mapped");
    // SAFETY: the stub lies in a page of this module's own, written through the direct map because the page
    // itself is executable and not writable.
    unsafe {
        core::ptr::copy_nonoverlapping(code.as_ptr(), crate::mm::direct(physical) as *mut u8, code.len())
    };
    address
}

/// Counts a driver's call of a routine. Returns true if the call fails here and now.
unsafe extern "win64" fn pass(gate: &Gate, return_address: usize) -> bool {
    let level = irql::current();
    if !(gate.export.lowest..=gate.export.highest).contains(&level) {
        violation(
            Violation::WrongIrql,
            format_args!(
                "routine={} irql={level} allowed={}..{} from={}",
                gate.export.name,
                gate.export.lowest,
                gate.export.highest,
                super::Place(return_address)
            ),
        );
    }
    if let Some((kind, _)) = gate.fault
        && (inject::starves(kind, gate.driver)
            || inject::denies_thread(gate.export.name, gate.driver)
            || inject::fails(
                kind,
                format_args!("routine={} from={}", gate.export.name, super::Place(return_address)),
            ))
    {
        return true;
    }
    if gate.attributed {
        processor().caller.set(gate.driver);
    }
    false
}

/// Returns the driver that called the routine this runs in, 0 for the executive itself. To be asked once,
/// first thing, by the routines that gates note a caller for.
pub(crate) fn caller() -> usize {
    processor().caller.take()
}
