//! The NT executive's boot manager and loader, as bootmgfw.efi and winload.efi are NT's: a UEFI application on the EFI
//! system partition. By the firmware's file protocol it reads boot configuration data and all that the chosen entry
//! needs; it ends the firmware's services, and enters the executive with the handover that a loader behind a BIOS makes.
//!
//! The words of the command line, which stand on the same volume, may have it read from the other of the two disks that
//! the firmware sees for one ([`Word::LoadFrom`]), or start the executive without a word to the firmware, whose drivers
//! then have ended nothing ([`Word::FirmwareStays`]).
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "calls the firmware, and moves memory")]

extern crate alloc;

mod enter;
mod uefi;

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::convert::Infallible;
use core::ops::Range;

use osloader::elf::Executable;
use osloader::load::{Files, Firmware, Loaded, WORDS, load};
use osloader::multiboot::MapEntry;
use protocol::{FirmwareDisk, Word};
use spin::Once;

use crate::enter::Low;
use crate::uefi::{Descriptor, File, Handle, NOT_FOUND, Services, Status, SystemTable};

const PAGE: usize = 4096;
/// Memory that the executive's first page tables map.
const MAPPED: u64 = 1 << 30;
/// Below it is the memory that the executive leaves alone.
const LEFT_ALONE: u64 = 2 << 20;

static SERVICES: Once<Services> = Once::new();

// SAFETY: the firmware runs an application on one processor, and its services keep themselves apart.
unsafe impl Send for Services {}
// SAFETY: as above.
unsafe impl Sync for Services {}

/// Memory of the firmware's pool.
struct Pool;

// SAFETY: each block is one of the firmware's, whose addresses are multiples of 8; larger alignments are refused.
unsafe impl GlobalAlloc for Pool {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match SERVICES.get() {
            Some(services) if layout.align() <= 8 => services.pool(layout.size()),
            _ => core::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, at: *mut u8, _: Layout) {
        if let Some(services) = SERVICES.get() {
            // SAFETY: the caller's promise.
            unsafe { services.free_pool(at) };
        }
    }
}

#[global_allocator]
static POOL: Pool = Pool;

/// Begins where the firmware enters the application.
///
/// # Safety
/// Called by the firmware.
#[unsafe(no_mangle)]
unsafe extern "efiapi" fn efi_main(image: Handle, table: *const SystemTable) -> Status {
    // SAFETY: the caller's promise; nothing is called after `exit`.
    let services = *SERVICES.call_once(|| unsafe { Services::new(table) });
    let Err(why) = start(services, image);
    fail(&why)
}

/// Returns an error of the firmware's in words.
fn firmware(what: &str) -> impl FnOnce(Status) -> String {
    move |status| format!("{what}: the firmware answers {:#x}", status.0)
}

/// Loads the system and enters the executive.
fn start(services: Services, image: Handle) -> Result<Infallible, String> {
    let own = services.volume_of(image).map_err(firmware("the application's volume"))?;
    say(&format!("started from the {} disk", disk(services, own)?));
    let words = String::from_utf8_lossy(&Volume::open(services, own)?.need(WORDS)?).into_owned();
    let words = || words.split_whitespace().filter_map(|word| Word::parse(word).ok());
    let wanted = words().find_map(|word| if let Word::LoadFrom(disk) = word { Some(disk) } else { None });
    let stays = words().any(|word| word == Word::FirmwareStays);

    let volume = match wanted {
        None => own,
        Some(wanted) => other_volume(services, wanted)?,
    };
    say(&format!("loads from the {} disk", disk(services, volume)?));
    let loaded = load(&mut Volume::open(services, volume)?, Firmware::Uefi, say)?;
    hand_over(services, image, &loaded, stays)
}

/// Returns the disk that a volume is on, by its path.
fn disk(services: Services, volume: Handle) -> Result<FirmwareDisk, String> {
    const HARDWARE_VENDOR: (u8, u8) = (1, 4);
    const ATAPI: (u8, u8) = (3, 1);
    let mut path = services.path(volume).map_err(firmware("a volume's path"))?;
    let found = path.find_map(|node| match node {
        ATAPI => Some(FirmwareDisk::Emulated),
        HARDWARE_VENDOR => Some(FirmwareDisk::Pv),
        _ => None,
    });
    found.ok_or_else(|| "a volume is on neither of the two disks".into())
}

/// Returns the system volume as the firmware sees it on that disk.
fn other_volume(services: Services, wanted: FirmwareDisk) -> Result<Handle, String> {
    let volumes = services.volumes().map_err(firmware("the list of volumes"))?;
    let has_words = |volume| Volume::open(services, volume).is_ok_and(|volume| volume.need(WORDS).is_ok());
    let is_wanted = |volume: &Handle| disk(services, *volume) == Ok(wanted) && has_words(*volume);
    let found = volumes.iter().copied().find(is_wanted);
    found.ok_or_else(|| format!("the firmware has no volume on the {wanted} disk"))
}

/// The files of a volume.
struct Volume(File);

impl Volume {
    fn open(services: Services, volume: Handle) -> Result<Self, String> {
        services.open(volume).map(Self).map_err(firmware("a volume"))
    }

    fn need(&self, path: &str) -> Result<Vec<u8>, String> {
        let file = self.0.open(path).and_then(|file| file.content());
        file.map_err(firmware(path))
    }
}

impl Files for Volume {
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
        match self.0.open(path) {
            Err(NOT_FOUND) => Ok(None),
            Err(status) => Err(firmware(path)(status)),
            Ok(file) => file.content().map(Some).map_err(firmware(path)),
        }
    }
}

/// Takes the machine over, puts the executive in place, and enters it.
fn hand_over(services: Services, image: Handle, loaded: &Loaded, stays: bool) -> Result<Infallible, String> {
    let executable = Executable::new(&loaded.executive)?;
    let place = extent(executable)?;
    let archive = archive(services, &loaded.archive)?;
    let pages = size_of::<Low>().div_ceil(PAGE);
    let low = services.pages(pages, LEFT_ALONE).map_err(firmware("memory below 2 MiB"))?;
    // SAFETY: that many pages have just been allocated, and nobody else knows of them.
    let low = unsafe { Low::make(low as *mut Low) };
    low.handover.describe(&loaded.words, archive)?;

    let mut buffer = vec![0_u64; 16 << 10];
    say(if stays { "the firmware is not told" } else { "the firmware's services end" });
    // An exit handler may change the map; then the firmware wants to be asked once more (7.4).
    let mut map = Err(Status(0));
    for _ in 0..2 {
        let (bytes, step, key) = services.memory_map(&mut buffer).map_err(firmware("the memory map"))?;
        let free = ranges(&buffer, bytes, step, |kind| FIRMWARES.contains(&kind) || kind == FREE);
        let has_room = free.into_iter().any(|range| range.start <= place.start && place.end <= range.end);
        let stack = (&raw const map) as u64;
        if !has_room || place.contains(&stack) {
            return Err("there is no room where the executive is linked".into());
        }
        // SAFETY: with success nothing is called any more: what follows allocates nothing.
        map = if stays { Ok(()) } else { unsafe { services.exit(image, key) } }.map(|()| (bytes, step));
        if map.is_ok() {
            break;
        }
    }
    let (bytes, step) = map.map_err(firmware("the end of its services"))?;
    for range in ranges(&buffer, bytes, step, |kind| {
        LOADERS.contains(&kind) || FIRMWARES.contains(&kind) || kind == FREE
    }) {
        let range = MapEntry::new(range.start, range.end - range.start, 1);
        low.handover.add_memory(range).unwrap_or_else(|why| fail(why));
    }
    // SAFETY: the first GiB has all that is used from here on, and the executive's place was the firmware's at most, who
    // is not called any more; its page tables may be there, which are no longer used.
    unsafe {
        low.map();
        for segment in executable.segments().map_while(Result::ok) {
            let memory = core::slice::from_raw_parts_mut(segment.address as *mut u8, segment.size);
            let (content, rest) = memory.split_at_mut(segment.content.len());
            content.copy_from_slice(segment.content);
            rest.fill(0);
        }
        low.enter(executable.entry())
    }
}

/// Returns the memory from the executive's first byte to its last.
fn extent(executable: Executable<'_>) -> Result<Range<u64>, &'static str> {
    let (mut start, mut end) = (u64::MAX, 0);
    for segment in executable.segments() {
        let segment = segment?;
        start = start.min(segment.address as u64);
        end = end.max((segment.address + segment.size) as u64);
    }
    Ok(start..end)
}

/// Copies the archive to whole pages of its own.
fn archive(services: Services, bytes: &[u8]) -> Result<Range<usize>, String> {
    let start = services.pages(bytes.len().div_ceil(PAGE), MAPPED);
    let start = start.map_err(firmware("memory for the archive"))?;
    // SAFETY: that many pages have just been allocated.
    unsafe { core::slice::from_raw_parts_mut(start as *mut u8, bytes.len()) }.copy_from_slice(bytes);
    Ok(start..start + bytes.len())
}

/// Loader's code and data (7.2, `EFI_MEMORY_TYPE`).
const LOADERS: Range<u32> = 1..3;
/// Code and data of the boot services: the system's when they have ended.
const FIRMWARES: Range<u32> = 3..5;
/// `EfiConventionalMemory`.
const FREE: u32 = 7;

/// Returns the memory of these kinds, in the map's order; ranges that follow each other are one.
fn ranges(
    map: &[u64],
    bytes: usize,
    step: usize,
    wanted: impl Fn(u32) -> bool,
) -> impl Iterator<Item = Range<u64>> {
    let mut ranges = map[..bytes / 8].chunks_exact(step / 8).filter_map(move |words| {
        // SAFETY: a descriptor is at the beginning of each of these chunks, and has at least that size.
        let descriptor = unsafe { words.as_ptr().cast::<Descriptor>().read() };
        let end = descriptor.physical + descriptor.pages * PAGE as u64;
        wanted(descriptor.kind).then_some(descriptor.physical..end)
    });
    let mut next = ranges.next();
    core::iter::from_fn(move || {
        let mut whole = next.take()?;
        next = ranges.next();
        while let Some(range) = next.as_ref().filter(|range| range.start == whole.end) {
            whole.end = range.end;
            next = ranges.next();
        }
        Some(whole)
    })
}

/// Says something on the port that the executive reports on.
fn say(what: &str) {
    for byte in b"@xg dbg bootmgr: ".iter().chain(what.as_bytes()).chain(b"\n") {
        // SAFETY: the debug console, which is nothing else's.
        unsafe { core::arch::asm!("out 0xE9, al", in("al") *byte, options(nomem, nostack)) };
    }
}

/// Says why there is no executive, and stops.
fn fail(what: &str) -> ! {
    say(what);
    loop {
        // SAFETY: the machine stands still until the rig's time limit.
        unsafe { core::arch::asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    fail("panicked")
}
