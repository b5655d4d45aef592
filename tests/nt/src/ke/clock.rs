//! Time: the TSC is the source, the local APIC's timer the tick.
//!
//! `KUSER_SHARED_DATA`, where x64 drivers read the time inline, is brought up to date at every tick from the
//! TSC, so that lost ticks lose no time.

use core::arch::x86_64::_rdtsc;
use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::apic;
use super::processor::processor;
use super::{interrupt, thread, timer};
use crate::hal::port;
use crate::mm::{PAGE_SIZE, direct, frames, map};
use crate::nt::CLOCK_LEVEL;

/// Ticks a second. NT has 64; under Xen in qemu a tick costs milliseconds.
pub(crate) const TICKS_PER_SECOND: u64 = 32;
/// Result of `KeQueryTimeIncrement`: 100 ns units a tick.
pub(crate) const TIME_INCREMENT: u64 = 10_000_000 / TICKS_PER_SECOND;
/// The clock's vector, as NT x64's HAL has it.
pub(crate) const VECTOR: u8 = 0xD1;

/// The address at which drivers read the shared data.
const KUSER_SHARED_DATA: usize = 0xFFFF_F780_0000_0000;
/// TickCountMultiplier, InterruptTime, SystemTime, NtMajorVersion, NtMinorVersion, TickCount.
const TICK_COUNT_MULTIPLIER: usize = 0x4;
const INTERRUPT_TIME: usize = 0x8;
const SYSTEM_TIME: usize = 0x14;
const NT_MAJOR_VERSION: usize = 0x26C;
const NT_MINOR_VERSION: usize = 0x270;
const TICK_COUNT: usize = 0x320;

static SHARED: AtomicU64 = AtomicU64::new(0);
static TSC_FREQUENCY: AtomicU64 = AtomicU64::new(1);
static TSC_AT_BOOT: AtomicU64 = AtomicU64::new(0);
/// Added to the processor's counter, which begins anew after S3.
static TSC_OFFSET: AtomicU64 = AtomicU64::new(0);

/// System time at boot: 2026-01-01, in 100 ns since 1601. The machine's real-time clock is not read at boot; nothing
/// here depends on the date.
const BOOT_TIME: u64 = 134_116_992_000_000_000;
/// Sum of the steps that the system's clock was set by, in 100 ns.
static STEPS: AtomicI64 = AtomicI64::new(0);

/// Returns system time minus interrupt time.
pub(crate) fn boot_time() -> u64 {
    BOOT_TIME.wrapping_add_signed(STEPS.load(Ordering::Relaxed))
}

/// Sets the system's clock forward or back by a number of seconds, as a time service does. Interrupt time goes on.
pub(crate) fn step(seconds: i64) {
    STEPS.fetch_add(seconds * 10_000_000, Ordering::Relaxed);
    publish();
}

/// Returns the machine's real-time clock, in seconds since 1970. PASSIVE_LEVEL.
///
/// Source: the MC146818's registers; Xen's `rtc.c` has them in BCD and counts the hours to 24 unless register B says
/// otherwise.
pub(crate) fn machine_time() -> i64 {
    /// Seconds, minutes, hours, day of the month, month and year.
    const REGISTERS: [u8; 6] = [0, 2, 4, 7, 8, 9];
    const REGISTER_B: u8 = 0xB;
    /// Bit of register B: binary, and not BCD.
    const BINARY: u8 = 4;
    let register = |number| {
        // SAFETY: the ports are those of the real-time clock, which nobody else uses.
        unsafe {
            port::outb(0x70, number);
            port::inb(0x71)
        }
    };
    let binary = register(REGISTER_B) & BINARY != 0;
    let decoded = |byte: u8| i64::from(if binary { byte } else { (byte >> 4) * 10 + (byte & 15) });
    // Read until twice the same, so that no second ends in between.
    let mut before = REGISTERS.map(register);
    loop {
        let now = REGISTERS.map(register);
        if now == before {
            break;
        }
        before = now;
    }
    let [second, minute, hour, day, month, year] = before.map(decoded);
    ((days(2000 + year, month, day) * 24 + hour) * 60 + minute) * 60 + second
}

/// Returns the number of days from 1970-01-01 to a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last one.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468
}

/// Returns the time-stamp counter.
pub(crate) fn tsc() -> u64 {
    // SAFETY: rdtsc is allowed in ring 0.
    unsafe { _rdtsc() }.wrapping_add(TSC_OFFSET.load(Ordering::Relaxed))
}

/// Has the time-stamp counter go on from `before`, on the only processor, after S3.
pub(crate) fn go_on_from(before: u64) {
    TSC_OFFSET.store(0, Ordering::Relaxed);
    TSC_OFFSET.store(before.wrapping_sub(tsc()), Ordering::Relaxed);
}

/// Returns the number of TSC ticks a second.
pub(crate) fn tsc_frequency() -> u64 {
    TSC_FREQUENCY.load(Ordering::Relaxed)
}

/// Returns the time since boot in 100 ns units.
pub(crate) fn interrupt_time() -> u64 {
    let ticks = tsc().wrapping_sub(TSC_AT_BOOT.load(Ordering::Relaxed));
    (u128::from(ticks) * 10_000_000 / u128::from(tsc_frequency())) as u64
}

/// Maps the shared page and measures the TSC. Called once, interrupts disabled.
///
/// # Safety
/// The page tables are up.
pub(crate) unsafe fn init() {
    let frame = frames::allocate().expect("a frame for the shared page");
    let page = direct(frame);
    // SAFETY: by this function's contract, the page tables are up.
    unsafe {
        core::ptr::write_bytes(page as *mut u8, 0, PAGE_SIZE);
        map::map(KUSER_SHARED_DATA, frame, map::READ_ONLY);
        SHARED.store(page as u64, Ordering::Relaxed);
        ((page + TICK_COUNT_MULTIPLIER) as *mut u32).write((TIME_INCREMENT << 24).div_ceil(10_000) as u32);
        ((page + NT_MAJOR_VERSION) as *mut u32).write(5);
        ((page + NT_MINOR_VERSION) as *mut u32).write(2);
        TSC_AT_BOOT.store(tsc(), Ordering::Relaxed);
        TSC_FREQUENCY.store(measure_tsc(), Ordering::Relaxed);
    }
    publish();
}

/// Counts TSC ticks over 50 ms of the PIT's channel 2 (1.193182 MHz; ports 42h, 43h, gate in 61h).
unsafe fn measure_tsc() -> u64 {
    const PIT_HZ: u64 = 1_193_182;
    const COUNT: u64 = PIT_HZ / 20;
    // SAFETY: the ports are those of the PIT and its gate, which nobody else uses while the system starts.
    unsafe {
        let gate = port::inb(0x61) & 0xFC;
        port::outb(0x61, gate);
        port::outb(0x43, 0xB0);
        port::outb(0x42, COUNT as u8);
        port::outb(0x42, (COUNT >> 8) as u8);
        port::outb(0x61, gate | 1);
        let start = tsc();
        while port::inb(0x61) & 0x20 == 0 {}
        let ticks = tsc() - start;
        port::outb(0x61, gate);
        ticks * PIT_HZ / COUNT
    }
}

/// Starts the tick.
pub(crate) fn start() {
    apic::start_timer(VECTOR, TICKS_PER_SECOND);
}

/// Writes a `KSYSTEM_TIME`: high part 2 first and low part last, so that an inline reader sees a tear.
unsafe fn write_time(offset: usize, value: u64) {
    let at = (SHARED.load(Ordering::Relaxed) as usize + offset) as *mut u32;
    // SAFETY: `offset` is that of a KSYSTEM_TIME in the shared user data, whose page is mapped.
    unsafe {
        at.add(2).write_volatile((value >> 32) as u32);
        at.write_volatile(value as u32);
        at.add(1).write_volatile((value >> 32) as u32);
    }
}

/// Returns the time since 1601, in 100 ns.
pub(crate) fn system_time() -> u64 {
    boot_time() + interrupt_time()
}

fn publish() {
    let now = interrupt_time();
    // SAFETY: the shared page stays mapped and has these fields.
    unsafe {
        write_time(INTERRUPT_TIME, now);
        write_time(SYSTEM_TIME, boot_time() + now);
        write_time(TICK_COUNT, now / TIME_INCREMENT);
    }
}

/// Handles the clock interrupt, at `CLOCK_LEVEL`.
pub(super) fn tick() {
    debug_assert_eq!(interrupt::level_of(VECTOR), CLOCK_LEVEL);
    publish();
    if timer::is_due(interrupt_time()) {
        processor().dpc_pending.store(true, Ordering::Release);
    }
    thread::quantum_tick();
}

/// `KeQueryTimeIncrement`: 100 ns units a tick. Any IRQL.
pub(crate) extern "win64" fn KeQueryTimeIncrement() -> u32 {
    TIME_INCREMENT as u32
}

/// `KeQueryPerformanceCounter`: the TSC and its frequency. Any IRQL.
///
/// # Safety
/// `frequency` is null or writable.
pub(crate) unsafe extern "win64" fn KeQueryPerformanceCounter(frequency: *mut i64) -> i64 {
    // SAFETY: by this function's contract, `frequency` is null or writable.
    unsafe {
        if !frequency.is_null() {
            *frequency = tsc_frequency() as i64;
        }
    }
    tsc() as i64
}

/// `KeStallExecutionProcessor`: spins. Any IRQL.
pub(crate) extern "win64" fn KeStallExecutionProcessor(microseconds: u32) {
    let end = tsc() + u64::from(microseconds) * tsc_frequency() / 1_000_000;
    while tsc() < end {
        core::hint::spin_loop();
    }
}
