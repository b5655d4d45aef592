//! The writer of crash dumps (`diskdump.sys` on NT, with what the kernel does around it).
//!
//! When a dump is configured (`CrashControl\CrashDumpEnabled`), a second copy of the miniport of the disk
//! that takes the dump is mapped as `dump_<name>`, with fresh copies of the drivers that it imports from, and
//! nothing of it runs. At a bugcheck its `DriverEntry` is called without arguments, and it writes one request
//! after the other, interrupts off, at HIGH_LEVEL ([`port`]). Where the dump goes was looked up before:
//! sectors that no file system has ([`file`]).
//!
//! The gates of the copy's imports hold its calls to their documented IRQLs, so that a call of anything that
//! needs a lower one is a violation; of Storport it can import only what [`port::DISKDUMP`] has.

mod file;
pub(crate) mod port;

use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

pub(crate) use file::secondary_data;
use port::Mode;

use crate::ke::{self, Lock, disable_interrupts, processor, restore_interrupts};
use crate::mm::{PAGE_SIZE, map};
use crate::nt::*;
use crate::ob::namespace;
use crate::{boot, cm, io, ldr, report, storport, xen};

/// The key that holds `CrashDumpEnabled`.
const CRASH_CONTROL: &str = "CrashControl";

/// A dump stack is in memory.
static ARMED: AtomicBool = AtomicBool::new(false);

/// The head of `%SystemRoot%\MEMORY.DMP`, to which the dump of an earlier boot was copied.
static COPIED: Lock<Option<Vec<u8>>> = Lock::new(None);

/// Copies the dump that an earlier boot left in its sectors into a file, as NT's own program does once the
/// system is up (`savedump.exe`, later `WerFault.exe`). PASSIVE_LEVEL, before another one is configured.
pub(crate) fn copy_out() {
    if let Some(head) = file::take() {
        report!("dump copied={}", head.len());
        *COPIED.lock() = Some(head);
    }
}

/// Returns the head of that file, if there is the file.
pub(crate) fn copied() -> Option<Vec<u8>> {
    COPIED.lock().clone()
}

/// Maps the dump stack if a dump is configured. PASSIVE_LEVEL, once the disks are there: on NT when the page
/// file is made.
pub(crate) fn load() {
    let path = alloc::format!("{}\\{CRASH_CONTROL}", cm::CONTROL);
    let enabled = cm::get(&path, "CrashDumpEnabled").and_then(|value| value.as_dword()).unwrap_or(0);
    if enabled != 0 {
        ARMED.store(map("dump_"), Ordering::Release);
    }
}

/// Maps a copy of the first disk's miniport under a prefix, and fills what is to be written.
fn map(prefix: &str) -> bool {
    // SAFETY: the first disk's device object; nobody removes it here.
    let found = namespace::lookup("\\Device\\Harddisk0\\DR0").and_then(|(device, _)| unsafe {
        let pdo = io::IoGetDeviceAttachmentBaseRef(device.cast());
        crate::ob::dereference(pdo.cast());
        storport::target_of(pdo)
    });
    // `dump-driver=<service>`: another miniport than the disk's is configured, by mistake or worse.
    let (service, target): (String, u8) = match (&boot::options().dump_driver, found) {
        (Some(service), _) => (service.clone(), 0),
        (None, Some(found)) => found,
        (None, None) => {
            crate::log!("diskdump: the first disk has no miniport");
            return false;
        }
    };
    let file = cm::service_file(&service);
    if let Err(error) = ldr::load_copy(&file, prefix) {
        crate::log!("diskdump: {prefix}{file} is not loaded: {error:?}");
        return false;
    }
    let name = alloc::format!("{prefix}{file}");
    let entry = ldr::with_image(&name, |image| image.entry).expect("the image was loaded");
    let seed = file::prepare();
    // SAFETY: the entry point of a driver image has DriverEntry's signature.
    unsafe { port::prepare(core::mem::transmute::<usize, DriverInitialize>(entry), target) };
    report!("dump armed={name} target={target} seed={seed:#x}");
    true
}

/// Writes the dump of a bugcheck (0 for hibernation), if a dump stack is in memory. HIGH_LEVEL, interrupts
/// off.
///
/// # Safety
/// Nobody else uses the dump stack.
pub(crate) unsafe fn write(code: u32, parameters: [usize; 4]) {
    if !ARMED.swap(false, Ordering::AcqRel) {
        return;
    }
    let mode = if code == 0 { Mode::Hibernate } else { Mode::Crash };
    // SAFETY: by this function's contract, nobody else uses the dump stack.
    unsafe {
        // NT starts an image for more than one purpose, and goes on where the copy refuses one.
        if boot::options().nt.is_nt62() {
            begin(Mode::MarkMemory);
        } else if mode == Mode::Hibernate {
            begin(mode);
        }
        match port::start(mode).and_then(|blocks| file::write(code, parameters, blocks)) {
            Ok(bytes) => report!("dump written={bytes}"),
            Err(failure) => report!("dump failed={failure}"),
        }
    }
}

/// Starts the copy without writing, and says what came of it.
unsafe fn begin(mode: Mode) {
    // SAFETY: the caller is the only user of the dump stack.
    match unsafe { port::start(mode) } {
        Ok(last) => report!("dump begun={} last={last}", mode.name()),
        Err(failure) => report!("dump begun={} refused={failure}", mode.name()),
    }
}

/// Unloads the stack that wrote a hibernation file: its pages are free for others. Says how many of them are granted
/// still, once none is or time is up. PASSIVE_LEVEL.
pub(crate) fn unload_after_hibernation() {
    /// Looks, of 100 ms each.
    const LOOKS: u32 = 100;
    let images = ["xenvbd.sys", "xenpci.sys", "idefilter.sys"].map(|file| alloc::format!("hiber_{file}"));
    let frames: Vec<u64> = images
        .iter()
        .filter_map(|name| ldr::range(name))
        .flat_map(|(start, end)| (start..end).step_by(PAGE_SIZE))
        .filter_map(|page| map::translate(page).map(|address| address / PAGE_SIZE as u64))
        .collect();
    let granted = || xen::granted_by_the_copy().filter(|frame| frames.contains(frame)).count();
    for _ in 0..LOOKS {
        if granted() == 0 {
            break;
        }
        ke::delay(100);
    }
    report!("dump freed={} granted={}", frames.len(), granted());
    // SAFETY: nothing of the images runs, and no driver calls them.
    images.iter().for_each(|name| unsafe { ldr::unload(name) });
}

/// Maps the stack that writes a hibernation file. PASSIVE_LEVEL, once.
pub(crate) fn load_for_hibernation() {
    ARMED.store(map("hiber_"), Ordering::Release);
}

/// Starts the copy as hibernation does, and writes through it if it starts; then `off`, which is over when
/// memory is here again. Unlike NT's, the other processors are not held: they idle, with their interrupts on.
/// PASSIVE_LEVEL.
pub(crate) fn hibernate(off: impl FnOnce()) {
    let interrupts = disable_interrupts();
    let level = processor().irql.replace(HIGH_LEVEL);
    // SAFETY: interrupts are off, and no other thread has a part in the dump stack.
    unsafe {
        write(0, [0; 4]);
        off();
        // The rest of the file is read through the copy, as it came back.
        if boot::options().nt.is_nt62() {
            begin(Mode::Resume);
        }
    }
    processor().irql.set(level);
    restore_interrupts(interrupts);
}
