//! Programs read of the guard through xenpci's channel (`guard::channel`): the version, the status, the record, and
//! events and lines of the activity log as they come, each reader with a file of its own.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ptr::null_mut;

use protocol::Ready;

use crate::io::{self, file};
use crate::nt::*;
use crate::pnp;
use crate::{ke, report};

/// The channel's interface and control codes, as guard/src/channel.rs has them.
const INTERFACE: Guid = Guid {
    data1: 0x6F1C_2A34,
    data2: 0x5B0D,
    data3: 0x4E9B,
    data4: [0x9A, 0x77, 0x3D, 0x1E, 0x8C, 0x5A, 0x4B, 0x10],
};
/// Control code of the channel's version, as guard/src/channel.rs has it.
const GET_VERSION: u32 = 0x0022_6000;
/// Control code of the status, as guard/src/channel.rs has it.
const GET_STATUS: u32 = 0x0022_6004;
/// Control code of the next event, as guard/src/channel.rs has it.
const GET_EVENT: u32 = 0x0022_6008;
/// Control code of a heartbeat, as guard/src/channel.rs has it.
pub(super) const HEARTBEAT: u32 = 0x0022_A00C;
/// Control code of the guard's record, as guard/src/channel.rs has it.
const GET_RECORD: u32 = 0x0022_6010;
/// Control code of the next line of the activity log, as guard/src/channel.rs has it.
const GET_LINE: u32 = 0x0022_6014;
/// Bytes of an event.
const EVENT: usize = 32;
/// Bytes of a line, the text's offset among them, and bytes of a record.
const LINE: usize = 264;
const TEXT: usize = 32;
const RECORD: usize = 2576;
/// Lines that the drivers keep.
const KEPT: u32 = 64;

/// A program's open file.
pub(super) struct Reader {
    file: *mut FileObject,
}

/// A request that is under way.
pub(super) struct Asked {
    irp: *mut Irp,
    buffer: Vec<u8>,
    done: Box<Kevent>,
}

impl Reader {
    pub(super) fn open() -> Self {
        let Some(link) = pnp::enabled_interfaces(&INTERFACE).pop() else {
            ke::panicked(format_args!("xenpci has no channel"));
        };
        // SAFETY: the link of an enabled interface.
        match unsafe { file::open(&link) } {
            Ok(file) => Self { file },
            Err(status) => ke::panicked(format_args!("the channel cannot be opened: {status:#x}")),
        }
    }

    /// Sends a request, as the I/O manager does for a program: a system buffer, and the file in the location.
    fn ask(&self, code: u32, input: &[u8], room: usize) -> Asked {
        let mut asked = Asked {
            irp: null_mut(),
            buffer: vec![0; room.max(input.len())],
            done: Box::new(Kevent::unsignaled()),
        };
        asked.buffer[..input.len()].copy_from_slice(input);
        asked.done.init();
        // SAFETY: the file is open; buffer and event live in the value until the request has ended.
        unsafe {
            let device = io::IoGetRelatedDeviceObject(self.file);
            asked.irp = io::IoAllocateIrp((*device).stack_size, FALSE);
            (*asked.irp).system_buffer = asked.buffer.as_mut_ptr().cast();
            let location = next_stack_location(asked.irp);
            (*location).major_function = IRP_MJ_DEVICE_CONTROL;
            (*location).file_object = self.file;
            (*location).parameters.device_io_control = DeviceIoControl {
                output_buffer_length: room as u32,
                output_pad: 0,
                input_buffer_length: input.len() as u32,
                input_pad: 0,
                io_control_code: code,
                code_pad: 0,
                type3_input_buffer: null_mut(),
            };
            set_completion_routine(asked.irp, ended, (&raw mut *asked.done).cast());
            io::IofCallDriver(device, asked.irp);
        }
        asked
    }

    /// Asks and waits.
    pub(super) fn get(&self, code: u32, input: &[u8], room: usize) -> (NtStatus, Vec<u8>) {
        self.ask(code, input, room).wait()
    }

    /// Asks for an event.
    pub(super) fn event(&self, from: u64) -> Asked {
        self.ask(GET_EVENT, &from.to_le_bytes(), EVENT)
    }

    /// Asks for a line.
    fn line(&self, from: u64) -> Asked {
        self.ask(GET_LINE, &from.to_le_bytes(), LINE)
    }

    /// Ends the program: its last handle goes, and then the file.
    pub(super) fn end(self) {
        // SAFETY: the file is open, and not used any more.
        unsafe {
            file::cleanup(self.file);
            crate::ob::dereference(self.file.cast());
        }
    }
}

impl Asked {
    pub(super) fn is_pending(&self) -> bool {
        // SAFETY: the event lives in the value.
        unsafe { ke::KeReadStateEvent((&raw const *self.done).cast_mut()) == 0 }
    }

    /// Waits for its end.
    pub(super) fn wait(mut self) -> (NtStatus, Vec<u8>) {
        // SAFETY: the event lives in the value; the IRP is freed once, when its driver has let go of it.
        unsafe {
            ke::KeWaitForSingleObject(
                (&raw mut *self.done).cast(),
                EXECUTIVE,
                KERNEL_MODE,
                FALSE,
                core::ptr::null(),
            );
            let result = (*self.irp).io_status;
            io::IoFreeIrp(self.irp);
            (result.status, self.buffer[..result.information].to_vec())
        }
    }
}

unsafe extern "win64" fn ended(_device: *mut DeviceObject, _irp: *mut Irp, done: Pvoid) -> NtStatus {
    // SAFETY: the caller keeps `done` valid for this call.
    unsafe {
        ke::KeSetEvent(done.cast(), 0, FALSE);
    }
    status::MORE_PROCESSING_REQUIRED
}

/// Returns a number of a status's or an event's bytes.
pub(super) fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(u32::MAX, |bytes| u32::from_le_bytes(bytes.try_into().unwrap_or_default()))
}

/// Reads the activity log: lines from before, one that comes from HIGH_LEVEL, and more of them than the drivers keep.
fn lines() {
    let (reader, other) = (Reader::open(), Reader::open());
    let (mut next, mut wrong, mut told) = (1, 0, [0; 3]);
    let waiting = loop {
        let asked = reader.line(next);
        if asked.is_pending() {
            break asked;
        }
        let (result, line) = asked.wait();
        let (sequence, lost) = (u64::from(number(&line, 0)), u64::from(number(&line, 8)));
        wrong += u32::from(result != 0 || line.len() != LINE || sequence != next + lost);
        let text = line.get(TEXT..).unwrap_or_default();
        for (count, driver) in told.iter_mut().zip(["idefilter: ", "xenpci: ", "xenvbd: "]) {
            *count += u32::from(text.starts_with(driver.as_bytes()));
        }
        next = sequence + 1;
    };
    report!("reader what=lines wrong={wrong} of-each={}", u8::from(told.iter().all(|&count| count > 0)));
    let dies = other.line(next);
    other.end();
    let (result, _) = dies.wait();
    report!("reader what=died-with-line status={result:#x}");
    super::activity::add(1, 1);
    let (result, line) = waiting.wait();
    let length = number(&line, 24) as usize;
    let text = String::from_utf8_lossy(line.get(TEXT..TEXT + length).unwrap_or_default()).into_owned();
    report!(
        "reader what=from-high-level status={result:#x} next={} text={text}",
        u64::from(number(&line, 0)) - next
    );
    next += 1;
    let waiting = reader.line(next);
    super::activity::add(1, KEPT + 10);
    let (result, line) = waiting.wait();
    let lost = number(&line, 8);
    report!(
        "reader what=overrun status={result:#x} counted={} lost={}",
        u8::from(u64::from(number(&line, 0)) == next + u64::from(lost)),
        u8::from(lost >= 10)
    );
    reader.end();
}

/// Runs the exercise. dom0 asks to power off at `ready for=request`, which is an event.
pub(super) fn run() {
    super::wait_until("a watched power button", crate::po::button::is_watched);
    let (reader, other) = (Reader::open(), Reader::open());
    let (result, version) = reader.get(GET_VERSION, &[], 8);
    report!("reader what=version status={result:#x} channel={} bytes={}", number(&version, 0), version.len());
    let (result, state) = reader.get(GET_STATUS, &[], 64);
    report!(
        "reader what=status status={result:#x} phase={} reason={:#x}",
        number(&state, 4),
        number(&state, 8)
    );
    let (result, _) = reader.get(GET_STATUS, &[], 8);
    report!("reader what=short status={result:#x}");
    let (result, _) = reader.get(GET_EVENT, &[0; 4], EVENT);
    report!("reader what=no-number status={result:#x}");
    let (result, record) = reader.get(GET_RECORD, &[], RECORD);
    report!(
        "reader what=record status={result:#x} bytes={} signature={} events={}",
        record.len(),
        String::from_utf8_lossy(record.get(..8).unwrap_or_default()),
        u8::from(number(&record, 12) != 0)
    );
    let (result, _) = reader.get(GET_RECORD, &[], RECORD - 1);
    report!("reader what=short-record status={result:#x}");
    let (result, _) = reader.get(GET_LINE, &[0; 4], LINE);
    report!("reader what=no-line status={result:#x}");
    let (result, _) = reader.get(GET_LINE, &[0; 8], LINE - 1);
    report!("reader what=short-line status={result:#x}");
    lines();
    let (result, _) = reader.get(0x0022_6FFC, &[], 64);
    report!("reader what=unknown status={result:#x}");
    // What has happened before it came.
    let mut next = 0;
    loop {
        let asked = reader.event(next);
        if asked.is_pending() {
            // A program that dies with its request under way.
            reader.end();
            let (result, _) = asked.wait();
            report!("reader what=died status={result:#x}");
            break;
        }
        let (result, event) = asked.wait();
        next = u64::from(number(&event, 0)) + 1;
        report!(
            "reader what=event status={result:#x} sequence={} lost={} kind={} value={:#x}",
            number(&event, 0),
            number(&event, 8),
            number(&event, 24),
            number(&event, 28)
        );
    }
    // Two that wait for the same event, one of which loses interest.
    let late = Reader::open();
    let (first, second, third) = (other.event(next), late.event(next), late.event(next + 1000));
    let (result, _) = third.wait();
    report!("reader what=of-another-boot status={result:#x}");
    report!(
        "reader what=waiting first={} second={}",
        u8::from(first.is_pending()),
        u8::from(second.is_pending())
    );
    let fourth = late.event(next);
    // SAFETY: the request is under way, and freed by `wait` alone.
    let cancelled = unsafe { io::IoCancelIrp(fourth.irp) };
    let (result, _) = fourth.wait();
    report!("reader what=cancelled had-routine={cancelled} status={result:#x}");
    super::ask(Ready::Request);
    for (who, asked) in [("first", first), ("second", second)] {
        let (result, event) = asked.wait();
        report!(
            "reader what={who} status={result:#x} news={} kind={}",
            u8::from(u64::from(number(&event, 0)) == next),
            number(&event, 24)
        );
    }
    late.end();
    other.end();
    super::wait_until("the power button", crate::po::button::is_pressed);
    report!("asked by=control");
}
