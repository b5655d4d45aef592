//! Time: clocks and delays.
#![expect(unsafe_code, reason = "reads the kernel's shared user data and calls delay routines")]

use core::time::Duration;

use wdk_sys::{
    _MODE,
    ntddk::{KeDelayExecutionThread, KeQueryPerformanceCounter, KeStallExecutionProcessor},
};

use crate::event::relative;

/// KUSER_SHARED_DATA on x64; InterruptTime at 8, SystemTime at 0x14.
const SHARED_USER_DATA: usize = 0xFFFF_F780_0000_0000;

fn shared(offset: usize) -> u64 {
    // SAFETY: KUSER_SHARED_DATA is mapped read-only in every x64 NT kernel; the 8 bytes are written as a
    // whole on x64.
    unsafe { core::ptr::with_exposed_provenance::<u64>(SHARED_USER_DATA + offset).read_unaligned() }
}

/// Returns the time since the system started, in 100 ns units. Any IRQL.
#[must_use]
pub fn interrupt_time() -> u64 {
    shared(0x08)
}

/// Returns the time since 1601-01-01 UTC, in 100 ns units. Any IRQL.
#[must_use]
pub fn system_time() -> u64 {
    shared(0x14)
}

/// Returns the time that has passed since a result of [`interrupt_time`]. Any IRQL.
#[must_use]
pub fn since(began: u64) -> Duration {
    Duration::from_nanos(interrupt_time().saturating_sub(began) * 100)
}

/// The end of a time that somebody may take, on the clock of [`interrupt_time`].
#[derive(Clone, Copy, Debug)]
pub struct Deadline(u64);

impl Deadline {
    /// Returns the deadline that is this time away. Any IRQL.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        let units = u64::try_from(time.as_nanos() / 100).unwrap_or(u64::MAX);
        Self(interrupt_time().saturating_add(units))
    }

    /// Returns true once it has passed. Any IRQL.
    #[must_use]
    pub fn has_passed(self) -> bool {
        interrupt_time() >= self.0
    }

    /// Returns the patience of the time that is left. Any IRQL.
    #[must_use]
    pub fn patience(self) -> Patience {
        Patience::new(Duration::from_nanos(self.0.saturating_sub(interrupt_time()).saturating_mul(100)))
    }
}

/// Spins. Any IRQL; keep it under 50 µs at DISPATCH_LEVEL.
pub fn stall(time: Duration) {
    // SAFETY: callable at any IRQL.
    unsafe { KeStallExecutionProcessor(u32::try_from(time.as_micros()).unwrap_or(u32::MAX)) };
}

/// Lets other threads run for at least this long. IRQL ≤ APC_LEVEL.
pub fn sleep(time: Duration) {
    let mut interval = relative(time);
    // SAFETY: the interval lives across the call.
    let _ = unsafe { KeDelayExecutionThread(_MODE::KernelMode as i8, 0, &raw mut interval) };
}

/// Lets `wait` wait for at most `limit`, and returns the time that it took. More than NT's clock explains is not counted: the
/// host ran none of the machine's processors meanwhile, perhaps nor whoever is waited for. IRQL as for `wait`.
pub fn measure(limit: Duration, wait: impl FnOnce()) -> Duration {
    const MOST_BEHIND: Duration = Duration::from_millis(100);
    let began = interrupt_time();
    wait();
    since(began).min(limit + MOST_BEHIND)
}

/// Lets other threads run for at least this long, and returns the time that [`measure`] counts. IRQL ≤ APC_LEVEL.
pub fn pause(time: Duration) -> Duration {
    measure(time, || sleep(time))
}

/// The time that somebody may take while pauses are made. It is not a number of them, each of which lasts a tick of NT's clock
/// at least.
#[derive(Clone, Copy, Debug)]
pub struct Patience(Duration);

impl Patience {
    /// Returns the patience of this time.
    #[must_use]
    pub const fn new(time: Duration) -> Self {
        Self(time)
    }

    /// Pauses for at least this long, and returns true, or returns false if no time is left. Whoever looks before each pause
    /// has looked after the last. IRQL ≤ APC_LEVEL.
    #[must_use]
    pub fn pause(&mut self, time: Duration) -> bool {
        let is_left = !self.is_over();
        if is_left {
            self.spend(pause(time));
        }
        is_left
    }

    /// Takes off it what was waited otherwise, and returns that. Any IRQL.
    pub fn spend(&mut self, time: Duration) -> Duration {
        self.0 = self.0.saturating_sub(time);
        time
    }

    /// Returns true if no time is left. Any IRQL.
    #[must_use]
    pub const fn is_over(self) -> bool {
        self.0.is_zero()
    }
}

/// Returns the performance counter and its frequency in Hz. Any IRQL.
#[must_use]
pub fn performance_counter() -> (u64, u64) {
    let mut frequency = relative(Duration::ZERO);
    // SAFETY: the place for the frequency lives across the call; QuadPart covers the union.
    unsafe {
        let count = KeQueryPerformanceCounter(&raw mut frequency);
        (count.QuadPart as u64, frequency.QuadPart as u64)
    }
}

/// Returns true if `seen` comes true now or within a second. PASSIVE_LEVEL.
#[must_use]
pub fn within_a_second(seen: impl FnMut() -> bool) -> bool {
    within(Duration::from_secs(1), seen)
}

/// Returns true if `seen` comes true now or within this time, in whole seconds. It is asked a hundred times at least: the clock
/// goes on while the host runs none of the machine's processors, or some of them only. PASSIVE_LEVEL.
#[must_use]
pub fn within(time: Duration, mut seen: impl FnMut() -> bool) -> bool {
    const LEAST: u32 = 100;
    let (began, frequency) = performance_counter();
    for asked in 1_u32.. {
        if seen() {
            return true;
        }
        let is_over = performance_counter().0.wrapping_sub(began) >= frequency * time.as_secs();
        if is_over && asked >= LEAST {
            return false;
        }
        sleep(Duration::from_millis(10));
    }
    false
}
