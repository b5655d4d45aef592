//! A small NT executive: boots as a Xen HVM guest or in plain qemu, loads driver files unchanged, and does
//! for them what NT does, no more. One module per component of NT; it watches drivers as Driver Verifier
//! does.
//!
//! `@xg` lines on port 0xE9 tell what happens ([`report`]).
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "an operating system kernel")]
#![expect(non_snake_case, reason = "routines have NT's names")]

extern crate alloc;

mod bench;
mod boot;
mod builtin;
mod cdrom;
mod cm;
mod disk;
mod diskdump;
mod ex;
mod exercise;
mod fs;
mod hal;
mod ide;
mod inf;
mod inject;
mod io;
mod ke;
mod ldr;
mod mm;
mod mountmgr;
mod nt;
mod ob;
mod pci;
mod phase;
mod pnp;
mod po;
mod ps;
mod report;
mod rtl;
mod storage;
mod storport;
mod verifier;
mod work;
mod xen;

use boot::multiboot::{Multiboot, Range};
use mm::{frames, map};

unsafe extern "C" {
    static image_start: u8;
    static rodata_start: u8;
    static data_start: u8;
    static image_end: u8;
}

/// Begins on the boot stack with the loader's page tables: the first Rust code.
///
/// # Safety
/// Called once by the entry code, with what the loader left.
unsafe extern "C" fn start(info: u32) -> ! {
    // SAFETY: by this function's contract, it is called once by the entry code, with what the loader left.
    unsafe {
        ke::processor::init(0);
        ke::smp::keep_boot_root();
        let loader = Multiboot::new(info);
        let address = |symbol: *const u8| symbol as usize;
        let (image, rodata) = (address(&raw const image_start), address(&raw const rodata_start));
        let (data, end) = (address(&raw const data_start), address(&raw const image_end));
        let module = loader.archive();
        let mut taken = alloc_free_list(image, end);
        if let Some(module) = module {
            taken[1] = Range { start: module.start, end: module.end.next_multiple_of(mm::PAGE_SIZE as u64) };
        }
        frames::init(loader.memory(), &taken);
        let options = boot::Options::parse(&loader.command_line());
        ke::descriptor::init(0);
        ke::trap::init();
        map::init(
            frames::BOOT_MAPPED,
            &[(image, rodata, map::EXECUTE), (rodata, data, map::READ_ONLY), (data, end, map::READ_WRITE)],
        );
        let archive = module.map_or(&[][..], |module| {
            let length = (module.end - module.start) as usize;
            core::slice::from_raw_parts(mm::direct(module.start) as *const u8, length)
        });
        boot::keep(options, osloader::archive::Archive::new(archive));
        ke::clock::init();
        ke::apic::init();
        ke::thread::init();
        ex::worker::init();
        ke::thread::create(phase::run, core::ptr::null_mut(), FIRST_PRIORITY, 0).expect("the first thread");
        ke::clock::start();
        ke::smp::start_others();
        ke::thread::idle()
    }
}

/// The priority of the thread that boots the system.
const FIRST_PRIORITY: i32 = 8;

/// Ranges that must not be given out: the image, and room for the module.
fn alloc_free_list(image: usize, end: usize) -> [Range; 2] {
    [Range { start: image as u64, end: end as u64 }, Range { start: 0, end: 0 }]
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    ke::panicked(format_args!("{info}"))
}
