//! The service of the suite as xenpci sees it: a program that sends heartbeats through the channel, and is given
//! dom0's requests to power off and to reboot.

use protocol::Ready;

use super::reader::{HEARTBEAT, Reader, number};
use super::wait_until;
use crate::ke::clock;
use crate::po::button;
use crate::report;

/// Kind of an event: dom0 asks to power off.
const POWER_OFF: u32 = 4;
/// Kind of an event: dom0 asks for a reboot.
const REBOOT: u32 = 5;

/// Sends a heartbeat, and returns the number of the next event.
fn beat(service: &Reader, carried: u64) -> u64 {
    let (result, next) = service.get(HEARTBEAT, &carried.to_le_bytes(), 8);
    report!("reader what=beat status={result:#x} carried={carried} bytes={}", next.len());
    number(&next, 0).into()
}

/// Runs the exercise.
///
/// 1. A program lives. dom0 looks for its node at `ready for=heartbeat`, and then asks to power off, which the program
///    does not carry out: the button is pressed in its stead.
/// 2. The program's handle is closed. dom0 looks for the node's end at `ready for=no-heartbeat`, and presses ACPI's
///    power button when it has seen it.
/// 3. Another program lives. dom0 asks for a reboot at `ready for=request`, which the program carries out. dom0 presses
///    ACPI's power button when the request is acknowledged.
pub(super) fn run() {
    wait_until("a watched power button", button::is_watched);
    button::acpi_is_pressed();
    let hung = Reader::open();
    let (result, _) = hung.get(HEARTBEAT, &[0; 4], 8);
    report!("reader what=short-beat status={result:#x}");
    let mut next = beat(&hung, 0);
    super::ask(Ready::Heartbeat);
    let event = loop {
        let (_, event) = hung.event(next).wait();
        next = u64::from(number(&event, 0)) + 1;
        if number(&event, 24) == POWER_OFF {
            break event;
        }
    };
    wait_until("the power button", button::is_pressed);
    let since = u64::from(number(&event, 20)) << 32 | u64::from(number(&event, 16));
    report!("reader what=hung ms={}", clock::system_time().saturating_sub(since) / 10_000);
    hung.end();
    super::ask(Ready::NoHeartbeat);
    wait_until("ACPI's power button", button::acpi_is_pressed);
    let service = Reader::open();
    next = beat(&service, 0);
    super::ask(Ready::Request);
    loop {
        let (result, event) = service.event(next).wait();
        let (sequence, kind) = (number(&event, 0), number(&event, 24));
        report!("reader what=given status={result:#x} kind={kind} presses={}", button::presses());
        next = u64::from(sequence) + 1;
        if kind == REBOOT {
            break;
        }
    }
    beat(&service, next - 1);
    wait_until("ACPI's power button", button::acpi_is_pressed);
    report!("reader what=carried presses={}", button::presses());
    // The request is one event, however often it was looked at.
    let behind = service.event(next);
    let pending = u8::from(behind.is_pending());
    service.end();
    let (result, _) = behind.wait();
    report!("reader what=behind pending={pending} status={result:#x}");
    report!("asked by=service");
}
