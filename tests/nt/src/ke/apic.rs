//! The local APIC and the first I/O APIC. The 8259 pair is masked.
//!
//! Source: Intel SDM volume 3, chapter "Advanced Programmable Interrupt Controller"; 82093AA data sheet.

use core::sync::atomic::{AtomicU32, Ordering};

use spin::Once;

use super::lock::{disable_interrupts, restore_interrupts};
use super::{clock, msr};
use crate::hal::port;
use crate::mm::{self, MM_NON_CACHED};

const LOCAL_EOI: usize = 0xB0;
const LOCAL_COMMAND: usize = 0x300;
const LOCAL_COMMAND_TARGET: usize = 0x310;
const LOCAL_SPURIOUS: usize = 0xF0;
const LOCAL_ID: usize = 0x20;
const LOCAL_TIMER: usize = 0x320;
const LOCAL_LINT0: usize = 0x350;
const LOCAL_LINT1: usize = 0x360;
const LOCAL_TIMER_INITIAL: usize = 0x380;
const LOCAL_TIMER_CURRENT: usize = 0x390;
const LOCAL_TIMER_DIVIDE: usize = 0x3E0;

/// Interrupt command: the last one has not been delivered yet; INIT; start-up; level asserted.
const COMMAND_PENDING: u32 = 1 << 12;
const COMMAND_INIT: u32 = 5 << 8 | COMMAND_ASSERT;
const COMMAND_START: u32 = 6 << 8 | COMMAND_ASSERT;
const COMMAND_ASSERT: u32 = 1 << 14;

const MASKED: u32 = 1 << 16;
const PERIODIC: u32 = 1 << 17;
const DIVIDE_BY_16: u32 = 3;

/// The vector of spurious interrupts, which need no acknowledgement.
pub(crate) const SPURIOUS: u8 = 0xFF;

const IO_APIC_BASE: i64 = 0xFEC0_0000;
/// Pins of the first I/O APIC: Xen gives an HVM guest 48, qemu 24 and ignores the others.
pub(crate) const PINS: u8 = 48;

struct Apics {
    local: usize,
    io: usize,
}

static APICS: Once<Apics> = Once::new();
/// The timer's initial count on every processor, and the target of device interrupts.
static TIMER_COUNT: AtomicU32 = AtomicU32::new(0);
static FIRST_ID: AtomicU32 = AtomicU32::new(0);

fn apics() -> &'static Apics {
    APICS.get().expect("the APICs are not up")
}

unsafe fn local_read(offset: usize) -> u32 {
    // SAFETY: the local APIC's page is mapped, and `offset` is that of a register.
    unsafe { ((apics().local + offset) as *const u32).read_volatile() }
}

unsafe fn local_write(offset: usize, value: u32) {
    // SAFETY: the local APIC's page is mapped, and `offset` is that of a register.
    unsafe {
        ((apics().local + offset) as *mut u32).write_volatile(value);
    }
}

unsafe fn io_write(register: u32, value: u32) {
    // SAFETY: the I/O APIC's page is mapped; its index and data registers are at 0 and 10h.
    unsafe {
        (apics().io as *mut u32).write_volatile(register);
        ((apics().io + 0x10) as *mut u32).write_volatile(value);
    }
}

unsafe fn io_read(register: u32) -> u32 {
    // SAFETY: as in `io_write`.
    unsafe {
        (apics().io as *mut u32).write_volatile(register);
        ((apics().io + 0x10) as *const u32).read_volatile()
    }
}

/// The redirection entries of every pin.
pub(crate) struct Pins([[u32; 2]; PINS as usize]);

/// Returns the redirection entries as they are, to be written again after S3, by which they are lost.
pub(crate) fn save_pins() -> Pins {
    let mut pins = Pins([[0; 2]; PINS as usize]);
    for (pin, [low, high]) in (0..).zip(&mut pins.0) {
        // SAFETY: redirection entry of an existing pin.
        unsafe { (*low, *high) = (io_read(0x10 + pin * 2), io_read(0x11 + pin * 2)) };
    }
    pins
}

/// Sets up again what S3 has lost, on the only processor, interrupts disabled: the 8259s masked, the local APIC and
/// its timer, the pins as they were.
pub(crate) fn restore(pins: &Pins) {
    // SAFETY: as in `init`; the registers are mapped.
    unsafe {
        port::outb(0x21, 0xFF);
        port::outb(0xA1, 0xFF);
        enable_local();
        for (pin, [low, high]) in (0..).zip(pins.0) {
            io_write(0x11 + pin * 2, high);
            io_write(0x10 + pin * 2, low);
        }
    }
    start_timer_again(clock::VECTOR);
}

/// Masks the 8259s, enables the local APIC, masks every pin of the I/O APIC.
///
/// # Safety
/// Called once with interrupts disabled.
pub(crate) unsafe fn init() {
    // SAFETY: by this function's contract, it is called once with interrupts disabled.
    unsafe {
        port::outb(0x21, 0xFF);
        port::outb(0xA1, 0xFF);
        let base = msr::read(msr::APIC_BASE);
        msr::write(msr::APIC_BASE, base | 1 << 11);
        let local = mm::MmMapIoSpace((base & 0xF_FFFF_F000) as i64, 4096, MM_NON_CACHED) as usize;
        let io = mm::MmMapIoSpace(IO_APIC_BASE, 4096, MM_NON_CACHED) as usize;
        APICS.call_once(|| Apics { local, io });
        enable_local();
        FIRST_ID.store(u32::from(id()), Ordering::Relaxed);
        for pin in 0..PINS {
            mask(pin);
        }
    }
}

/// Enables this processor's local APIC.
///
/// # Safety
/// Called once on each processor with interrupts disabled, the APICs being mapped.
pub(crate) unsafe fn enable_local() {
    // SAFETY: by this function's contract, it is called once on each processor with interrupts disabled, the
    // APICs being mapped.
    unsafe {
        msr::write(msr::APIC_BASE, msr::read(msr::APIC_BASE) | 1 << 11);
        local_write(LOCAL_SPURIOUS, 1 << 8 | u32::from(SPURIOUS));
        local_write(LOCAL_LINT0, MASKED);
        local_write(LOCAL_LINT1, MASKED);
    }
}

/// Returns this processor's local APIC id.
pub(crate) fn id() -> u8 {
    // SAFETY: the id register of the mapped local APIC.
    unsafe { (local_read(LOCAL_ID) >> 24) as u8 }
}

/// Sends an interrupt command to the processor with local APIC `id`.
fn command(id: u8, command: u32) {
    let interrupts = disable_interrupts();
    // SAFETY: the command registers of the mapped local APIC; the low one sends.
    unsafe {
        while local_read(LOCAL_COMMAND) & COMMAND_PENDING != 0 {}
        local_write(LOCAL_COMMAND_TARGET, u32::from(id) << 24);
        local_write(LOCAL_COMMAND, command);
    }
    restore_interrupts(interrupts);
}

/// Interrupts the processor with local APIC `id`. Any IRQL.
pub(crate) fn interrupt(id: u8, vector: u8) {
    command(id, COMMAND_ASSERT | u32::from(vector));
}

/// Starts the processor with local APIC `id` in real mode at page `page` (Intel SDM volume 3, 8.4.4.1).
pub(crate) fn start(id: u8, page: u8) {
    command(id, COMMAND_INIT);
    clock::KeStallExecutionProcessor(10_000);
    command(id, COMMAND_START | u32::from(page));
}

/// Acknowledges the highest interrupt in service.
pub(crate) fn end_of_interrupt() {
    // SAFETY: the EOI register of the mapped local APIC.
    unsafe { local_write(LOCAL_EOI, 0) };
}

/// Lets a pin interrupt on a vector.
pub(crate) fn unmask(pin: u8, vector: u8, level_triggered: bool) {
    let pin = u32::from(pin);
    // SAFETY: redirection entry of an existing pin; fixed delivery to the first processor.
    unsafe {
        io_write(0x11 + pin * 2, FIRST_ID.load(Ordering::Relaxed) << 24);
        io_write(0x10 + pin * 2, u32::from(vector) | u32::from(level_triggered) << 15);
    }
}

/// Keeps a pin from interrupting.
pub(crate) fn mask(pin: u8) {
    // SAFETY: redirection entry of an existing pin.
    unsafe { io_write(0x10 + u32::from(pin) * 2, MASKED) };
}

/// Starts the periodic timer, its frequency measured against the TSC over 20 ms.
pub(crate) fn start_timer(vector: u8, per_second: u64) {
    // SAFETY: timer registers of the mapped local APIC.
    unsafe {
        local_write(LOCAL_TIMER_DIVIDE, DIVIDE_BY_16);
        local_write(LOCAL_TIMER, MASKED);
        local_write(LOCAL_TIMER_INITIAL, u32::MAX);
        let start = clock::tsc();
        clock::KeStallExecutionProcessor(20_000);
        let elapsed = u64::from(u32::MAX - local_read(LOCAL_TIMER_CURRENT));
        let ticks = clock::tsc() - start;
        let frequency = u128::from(elapsed) * u128::from(clock::tsc_frequency()) / u128::from(ticks);
        TIMER_COUNT.store((frequency / u128::from(per_second)) as u32, Ordering::Release);
    }
    start_timer_again(vector);
}

/// Starts this processor's periodic timer, as [`start_timer`] did on the first one.
pub(crate) fn start_timer_again(vector: u8) {
    // SAFETY: timer registers of the mapped local APIC.
    unsafe {
        local_write(LOCAL_TIMER_DIVIDE, DIVIDE_BY_16);
        local_write(LOCAL_TIMER, u32::from(vector) | PERIODIC);
        local_write(LOCAL_TIMER_INITIAL, TIMER_COUNT.load(Ordering::Acquire));
    }
}
