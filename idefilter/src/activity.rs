//! The activity log of the suite (`guard::activity` has its layout): the ring, and a thread that passes lines on
//! to files in the folder of Windows. The ring stands in a crash dump, too.
//!
//! A line may come from the middle of a request to the disk that the files are on, at any IRQL. So it only queues a
//! DPC, which wakes the thread and tells the drivers that pass lines on themselves. The thread writes what has come
//! together once it is quiet, or when half of the ring is new, or at the shutdown. A write that fails is tried again later,
//! at growing intervals; lines that the ring could not keep until then are counted in the file. Nothing waits for the
//! thread but the shutdown, for seconds.
#![expect(
    unsafe_code,
    reason = "leaks what lives as long as the driver, and hands the ring to the crash dump"
)]

use core::fmt::Write;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use core::time::Duration;

use alloc::boxed::Box;
use alloc::vec::Vec;

use guard::abi::Signals;
use guard::activity::{self, CAPACITY, Next, Reader, Ring};
use wdm::bugcheck::{self, DumpData};
use wdm::debug::Line;
use wdm::dpc::Dpc;
use wdm::event::{Event, Kind};
use wdm::file::File;
use wdm::irql::AtDispatch;
use wdm::thread::Thread;
use wdm::{NtStatus, Result, pool, time, utf16};

use crate::{boot_count, log, parameters, signals};

/// Time without a new line after which the lines are written.
const QUIET: Duration = Duration::from_secs(2);
/// Lines that are written at once, quiet or not.
const MANY: u64 = CAPACITY as u64 / 2;
/// Time before a write that has failed is tried again: the first one, and the longest.
const AGAIN: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(300)];
/// Time that a shutdown waits for its lines to be written.
const PATIENCE: Duration = Duration::from_secs(5);

static RING: Ring = Ring::new();
/// The DPC that tells of new lines, once there is one: it is never freed, and the driver does not end.
static NEWS: AtomicPtr<Dpc<Tell>> = AtomicPtr::new(ptr::null_mut());
/// The thread's part, once there is one: it never ends, and neither does the driver.
static WORKER: AtomicPtr<Worker> = AtomicPtr::new(ptr::null_mut());

/// The ring in a crash dump.
static IN_DUMP: DumpData = DumpData::new(c"idefilter", activity::DUMP, at_stop);

/// The routine of the DPC.
type Tell = fn(&AtDispatch);

/// The way to the thread and back.
struct Worker {
    /// There is something to do.
    wake: Event,
    /// The files can be written: the system has opened its hives, and checked its volumes before.
    started: AtomicBool,
    /// The system is being shut down.
    closing: Event,
    /// The last lines before a shutdown have been written, or could not be.
    closed: Event,
}

impl Worker {
    fn new() -> Result<Self> {
        Ok(Self {
            wake: Event::new(Kind::Synchronization)?,
            started: AtomicBool::new(false),
            closing: Event::new(Kind::Notification)?,
            closed: Event::new(Kind::Notification)?,
        })
    }

    fn is_closing(&self) -> bool {
        self.closing.wait_timeout(Duration::ZERO)
    }
}

/// Returns the thread's part, if there is one. Any IRQL.
fn worker() -> Option<&'static Worker> {
    // SAFETY: null, or leaked in `begin`.
    unsafe { WORKER.load(Ordering::Acquire).as_ref() }
}

/// Tells of new lines. DISPATCH_LEVEL.
fn tell(_: &AtDispatch) {
    if let Some(worker) = worker() {
        worker.wake.set();
    }
    signals::raise(Signals::LINES);
}

/// Adds a line `<driver>: <text>`. Any IRQL.
pub(crate) fn add(line: &[u8]) {
    RING.add(time::system_time(), line);
    // A stopped system runs no threads, and the lock of its queue of DPCs may be held.
    // SAFETY: null, or leaked in `begin`.
    if let Some(news) = unsafe { NEWS.load(Ordering::Acquire).as_ref() }
        && !bugcheck::is_under_way()
    {
        news.queue();
    }
}

/// Returns the first line from number `from` on, and how many before it are lost; `None` where it is still to come. Any
/// IRQL.
pub(crate) fn line(from: u64) -> Option<(activity::Line, u64)> {
    RING.from(from)
}

/// Begins to tell of new lines, and to write them to files unless `Parameters\ActivityLog` is 0. PASSIVE_LEVEL, in
/// DriverEntry.
pub(crate) fn begin() {
    match Dpc::new(tell as Tell).and_then(pool::try_box) {
        Ok(news) => NEWS.store(Box::leak(news), Ordering::Release),
        Err(status) => log!("nobody is told of new lines of the activity log: {status}"),
    }
    if parameters::open().and_then(|key| key.dword(utf16!("ActivityLog"))) == Ok(0) {
        return;
    }
    if let Err(status) = start() {
        log!("the activity log is not written to files: {status}");
    }
}

/// Has a crash dump keep the ring. PASSIVE_LEVEL, in a PV boot.
pub(crate) fn put_into_dump() {
    if !IN_DUMP.register() {
        log!("the activity log will not be in a crash dump");
    }
}

fn start() -> Result {
    let worker: &'static Worker = Box::leak(pool::try_box(Worker::new()?)?);
    // Dropping the handle leaves the thread running.
    drop(Thread::spawn(move || run(worker))?);
    WORKER.store(ptr::from_ref(worker).cast_mut(), Ordering::Release);
    worker.wake.set();
    Ok(())
}

/// Has the last lines written before the file systems go. PASSIVE_LEVEL; waits for seconds at most.
pub(crate) fn at_shutdown() {
    if let Some(worker) = worker().filter(|worker| worker.started.load(Ordering::Acquire)) {
        worker.closing.set();
        worker.wake.set();
        worker.closed.wait_timeout(PATIENCE);
    }
}

/// Returns the ring's bytes. HIGH_LEVEL, while the system stops.
fn at_stop() -> &'static [u8] {
    // SAFETY: a static of plain words, and every other processor is halted.
    unsafe { core::slice::from_raw_parts(ptr::from_ref(&RING).cast(), size_of::<Ring>()) }
}

fn run(worker: &Worker) {
    boot_count::wait_for_hives();
    worker.started.store(true, Ordering::Release);
    let mut reader = Reader::default();
    let mut failed: Option<Duration> = None;
    loop {
        worker.wake.wait();
        while reader.behind(&RING) < MANY && !worker.is_closing() && worker.wake.wait_timeout(QUIET) {}
        // Before the write: a shutdown that begins later has one of its own.
        let last = worker.is_closing();
        match write(&mut reader) {
            Ok(()) => failed = None,
            Err(status) => {
                let pause = failed.map_or(AGAIN[0], |before| AGAIN[1].min(before * 2));
                if failed.replace(pause).is_none() {
                    log!("the activity log cannot be written now: {status}");
                }
                worker.closing.wait_timeout(pause);
                worker.wake.set();
            }
        }
        if last {
            worker.closed.set();
            // What comes now stays in the ring.
            return;
        }
    }
}

/// Writes the lines that are new. Leaves the reader where it stood if that fails.
fn write(reader: &mut Reader) -> Result {
    let (mut after, mut text) = (*reader, Vec::new());
    while let Some(next) = after.next(&RING) {
        let mut line = Line::new();
        // Writing to a Line does not fail.
        let _ = match next {
            Next::Line(next) => write!(line, "{next}\r\n"),
            Next::Lost(1) => write!(line, "1 line is lost\r\n"),
            Next::Lost(count) => write!(line, "{count} lines are lost\r\n"),
        };
        text.try_reserve(line.as_bytes().len()).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
        text.extend_from_slice(line.as_bytes());
    }
    if !text.is_empty() {
        append(&text)?;
    }
    *reader = after;
    Ok(())
}

/// Writes text behind the file's end; a file that would become too long is put aside.
fn append(text: &[u8]) -> Result {
    File::make_folder(utf16!(activity::FOLDER))?;
    let mut file = File::append_to(utf16!(activity::FILE))?;
    if file.length()? + text.len() as u64 > activity::FILE_BYTES {
        file.rename(utf16!(activity::OLD_NAME))?;
        // The handle goes with the file.
        drop(file);
        file = File::append_to(utf16!(activity::FILE))?;
    }
    file.append(text)
}
