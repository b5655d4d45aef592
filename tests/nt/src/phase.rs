//! The boot in NT's order, the system's life, and its end.

use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use core::time::Duration;

use osloader::drivers::{self, BOOT_START, BootDriver, GROUPS};
use osloader::{boot_ini, menu};
use protocol::{Fault, Ready};

use crate::boot;
use crate::cm::{self, Value};
use crate::disk::foreign::{Content, OTHER_SIGNATURE};
use crate::io::{driver, named_file, reinitialize, shutdown};
use crate::nt::*;
use crate::report::Escaped;
use crate::{
    bench, builtin, disk, diskdump, exercise, inf, inject, ke, ldr, mountmgr, ob, pci, pnp, po, report, rtl,
    storport, verifier, work,
};

/// The group of the bus drivers.
const BOOT_BUS_EXTENDER: &str = "Boot Bus Extender";
/// The phase before the groups, from NT 6.2 on.
const CORE: &str = "Core";
/// After how long the system counts as settled, in milliseconds; xenvbd looks again for 3 s and waits for 2 s
/// of quiet.
const SETTLED: u64 = 7000;
/// Delay before disks are heard of with the fault `unheard`, in milliseconds.
const UNHEARD: u64 = 4000;
/// Time that the system runs after it is up, in milliseconds.
const LIFE: u64 = 3000;
/// Milliseconds without memory in which every thread that wants some has asked.
const MEMORY_IS_SCARCE: u64 = 300;

/// Runs the whole life of the system. The thread is the first system thread's.
///
/// # Safety
/// Called once, at `PASSIVE_LEVEL`, interrupts on.
pub(crate) unsafe extern "win64" fn run(_context: Pvoid) {
    if let Some(word) = &boot::options().unknown {
        ke::panicked(format_args!("the command line has a word that is not known: {word}"));
    }
    install();
    cm::loaded();
    load_options();
    if boot::options().pause > 0 {
        ke::delay(boot::options().pause);
    }
    // SAFETY: by this function's contract, it is called once, at `PASSIVE_LEVEL`, interrupts on.
    unsafe {
        pnp::init();
        let drivers = load_boot_drivers();
        if boot::options().look_alike {
            pci::look_alike();
        }
        if boot::options().second_root {
            pci::split();
        }
        let mut root = start_boot_drivers(&drivers);
        pnp::boot_drivers_started();
        pnp::try_waiting();
        if boot::options().second_root {
            if boot::options().legacy_ide {
                // One controller stands for two here: sizing the second's BARs would break into a transfer of
                // the first.
                pnp::settle();
            }
            // The bridge that is reported later.
            root = report_root_bus(1);
            start_root_bus(root);
        }
        reinitialize::boot_devices_up();
        pnp::settle();
        reinitialize::drivers_started();
        early_faults();
        cm::session_manager();
        pnp::can_load();
        pnp::install_devices();
        pnp::mark_unneeded(boot_services());
        diskdump::copy_out();
        diskdump::load();
        report!("up us={}", ke::clock::interrupt_time() / 10);
        work::report("up");
        if let Some(case) = &boot::options().wrong {
            wrong(case);
        }
        if boot::options().benchmark {
            bench::run();
        }
        mountmgr::file_test();
        if let Some(exercise) = boot::options().exercise {
            exercise::run(exercise);
        }
        faults(root);
        rest();
        pnp::settle();
        report_devices();
        report_status();
        pnp::mark_unneeded(boot_services());
        // A full volume has room again.
        named_file::fill(false);
        let begun = ke::clock::interrupt_time();
        shutdown::notify();
        let shutdown = ke::clock::interrupt_time() - begun;
        cm::flush();
        cm::close();
        mountmgr::shutdown();
        let begun = ke::clock::interrupt_time();
        shutdown::last_chance();
        report_record(shutdown, ke::clock::interrupt_time() - begun);
        pnp::set_power(POWER_SYSTEM_SHUTDOWN, POWER_ACTION_SHUTDOWN_OFF);
        verifier::leaks::check();
        work::report("end");
        inject::report_counts();
        ke::interrupt::report_counts();
        storport::report_counts();
        report!("end verdict=clean");
        po::power_off()
    }
}

/// Reports the PCI host bridge of a bus. Returns its PDO.
unsafe fn report_root_bus(bus: u32) -> *mut DeviceObject {
    // As ACPI's _CRS names it.
    let bus_number = ResourceBusNumber { start: bus, length: 1, reserved: 0 };
    let number = CmPartialResourceDescriptor {
        kind: CM_RESOURCE_TYPE_BUS_NUMBER,
        share_disposition: CM_RESOURCE_SHARE_DEVICE_EXCLUSIVE,
        flags: 0,
        u: ResourceArguments { bus_number },
    };
    // SAFETY: the system starts: this is the only thread, at PASSIVE_LEVEL.
    unsafe { pnp::report_root_device("ACPI", &["ACPI\\PNP0A03", "*PNP0A03"], &[], Vec::from([number])) }
}

/// Reports the IDE controller on a path that no filter is on, and starts what can be started there.
unsafe fn report_ide() {
    let Some((ids, resources)) = pci::resources_of_ide() else {
        ke::panicked(format_args!("there is no IDE controller to come back"));
    };
    let hardware: Vec<&str> = ids.hardware.iter().map(String::as_str).collect();
    let compatible: Vec<&str> = ids.compatible.iter().map(String::as_str).collect();
    // SAFETY: a thread of the system's, at PASSIVE_LEVEL.
    unsafe {
        pnp::add_root_device("ROOT", &hardware, &compatible, resources);
    }
}

/// Starts the root bus, and everything below it.
unsafe fn start_root_bus(bus: *mut DeviceObject) {
    // SAFETY: the caller keeps `bus` valid for this call.
    unsafe {
        pnp::start_root_device(bus);
    }
    if !pnp::is_started(bus) {
        no_boot_device();
    }
}

/// Does the loader's part: reads the chosen entry's options, from the boot configuration data where there is
/// one.
fn load_options() {
    let (store, boot_ini) = (boot::archive().file("BCD"), boot::archive().file("boot.ini"));
    let number = (!boot::options().unattended).then_some(boot::options().entry);
    let Some(chosen) = menu::choose(store, boot_ini.unwrap_or_default(), number) else {
        ke::panicked(format_args!("there is no entry {number:?}"));
    };
    if chosen.once {
        // The boot manager has taken it out before it starts the entry; the host has the disk.
        report!("bcd bootsequence=used");
    }
    let (number, switches) = (chosen.number, chosen.switches);
    let options = boot_ini::system_start_options(&switches);
    let safe = boot_ini::safe_boot_mode(&switches);
    cm::set(cm::CONTROL, "SystemStartOptions", Value::text(&options));
    rtl::InitSafeBootMode.store(safe, Ordering::Relaxed);
    report!("boot entry={number} options={} safe={safe}", Escaped(&options));
}

/// Does setup's part, done in an earlier boot: packages, then whatever was changed by hand; or takes over the hive
/// that is the outcome of both, where the loader has read one.
fn install() {
    if let Some(hive) = boot::archive().file("SYSTEM")
        && let Err(error) = cm::take_hive(hive)
    {
        ke::panicked(format_args!("{error}"));
    }
    for (name, contents) in boot::archive().files() {
        if name.to_ascii_lowercase().ends_with(".inf")
            && let Err(error) = inf::install(&String::from_utf8_lossy(contents))
        {
            ke::panicked(format_args!("{name}: {error}"));
        }
    }
    pnp::installed_earlier();
    if let Some(contents) = boot::archive().file("overrides.reg")
        && let Err(line) = cm::apply_reg_file(&String::from_utf8_lossy(contents))
    {
        ke::panicked(format_args!("overrides.reg: not understood: {line}"));
    }
}

/// Does the boot loader's part: the boot-start drivers by group, then by tag, then as they stand in the
/// registry, and their files in memory as far as they can be loaded.
fn load_boot_drivers() -> Vec<BootDriver> {
    let drivers = drivers::boot_drivers(&cm::ControlSet, pnp::leaves_out);
    builtin::load_at_boot(&boot::options().late);
    let files: Vec<String> = drivers.iter().map(|driver| cm::service_file(&driver.service)).collect();
    ldr::load_boot_files(&files);
    drivers
}

/// Returns the services that may be found unneeded: the boot-start ones of files, and those of emulated
/// controllers.
fn boot_services() -> impl Iterator<Item = String> {
    let number = |service: &str| cm::get(&alloc::format!("{}\\{service}", cm::SERVICES), "Start");
    let is_boot_start =
        move |service: &String| number(service).and_then(|value| value.as_dword()) == Some(BOOT_START);
    cm::keys(cm::SERVICES).into_iter().filter(is_boot_start).chain(builtin::storage())
}

/// Starts boot-start drivers, group by group. After each group the devices that wait for one of its drivers are
/// tried. Returns the PDO of the PCI host bridge.
///
/// The ACPI device, of class System, has reported the bridge by the time that the bridge's own driver starts. From
/// NT 6.2 on the ACPI driver is of a phase before every group («Core»), so that the stack of its device, with the
/// filters of its class, is built before a driver of System Reserved has run; then, and after that group once
/// more. In earlier versions nothing depends on when that is.
unsafe fn start_boot_drivers(drivers: &[BootDriver]) -> *mut DeviceObject {
    let late = &boot::options().late;
    let mut root = core::ptr::null_mut();
    let early = boot::options().nt.is_nt62();
    // SAFETY: the system starts: this is the only thread, at PASSIVE_LEVEL.
    let core = || unsafe {
        builtin::start(CORE, late);
        pnp::add_root_device("ACPI_HAL", &["ACPI_HAL\\PNP0C08", "*PNP0C08"], &[], Vec::new())
    };
    let mut acpi = early.then(core);
    // SAFETY: the system starts: this is the only thread, at PASSIVE_LEVEL.
    unsafe {
        for rank in 0..=GROUPS.len() {
            for driver in drivers.iter().filter(|driver| driver.rank == rank) {
                // The outcome is reported; a boot-start driver that fails does not stop the boot
                // (SERVICE_ERROR_NORMAL).
                let _ = driver::load(&driver.service);
            }
            let group = GROUPS.get(rank).copied().unwrap_or_default();
            if group == BOOT_BUS_EXTENDER {
                let acpi = *acpi.get_or_insert_with(core);
                if !pnp::is_started(acpi) {
                    no_boot_device();
                }
                if boot::options().legacy_ide {
                    report_ide();
                }
                for bus in 0..boot::options().empty_roots {
                    // Behind the two that may have devices.
                    report_root_bus(2 + bus);
                }
                root = report_root_bus(0);
            }
            builtin::start(group, late);
            pnp::try_waiting();
            if group == BOOT_BUS_EXTENDER && !pnp::is_started(root) {
                // Its driver may be one that is loaded when a device needs it.
                start_root_bus(root);
            }
            if group == BOOT_BUS_EXTENDER {
                start_unfiltered_roots();
            }
        }
    }
    root
}

/// Starts the root buses that the filter cannot be put on, or not be told by. xenpci has not been started yet.
unsafe fn start_unfiltered_roots() {
    // SAFETY: the system starts: this is the only thread, at PASSIVE_LEVEL.
    unsafe {
        if boot::options().starved_root {
            inject::starve("idefilter");
            start_root_bus(report_root_bus(2));
            // The thread that writes to the event log finds no memory either.
            ke::delay(MEMORY_IS_SCARCE);
            inject::feed();
        }
        if boot::options().nameless_root {
            let bus = report_root_bus(2);
            pnp::hide_ids(bus);
            start_root_bus(bus);
        }
    }
}

/// Stops the boot: no bus, no disk to boot from.
fn no_boot_device() -> ! {
    ke::KeBugCheckEx(INACCESSIBLE_BOOT_DEVICE, 0, 0, 0, 0)
}

/// Gives the deliberately wrong driver a device, lets it play its case, and takes the device away.
unsafe fn wrong(case: &str) {
    cm::set(&alloc::format!("{}\\wrong\\Parameters", cm::SERVICES), "Case", Value::text(case));
    // SAFETY: the device is the one made here, and nothing else removes it.
    unsafe {
        let device = pnp::add_root_device("ROOT", &["ROOT\\WRONG"], &[], Vec::new());
        ke::delay(300);
        if !pnp::remove_root_device(device) {
            crate::log!("wrong: the device could not be removed");
        }
    }
}

/// Tells what idefilter says of the boot in the registry, as a tool that an admin runs would.
fn report_status() {
    let path = alloc::format!("{}\\idefilter\\Status", cm::SERVICES);
    let number = |name: &str| cm::get(&path, name).and_then(|value| value.as_dword());
    if let (Some(phase), Some(reason)) = (number("Phase"), number("Reason")) {
        report!("status phase={phase} reason={reason:#x}");
    }
}

/// Lets time pass in which nobody asks for anything, and tells how often drivers' threads have waited meanwhile.
fn rest() {
    let (begun, before) = (ke::clock::interrupt_time(), ke::thread::waits_of_drivers());
    ke::delay(LIFE);
    let milliseconds = (ke::clock::interrupt_time() - begun) / 10_000;
    report!("rest ms={milliseconds} waits={}", ke::thread::waits_of_drivers() - before);
}

/// Tells which record the boot has left in the registry, and how long the shutdown's two requests took, in 100 ns.
fn report_record(shutdown: u64, last_chance: u64) {
    let path = alloc::format!("{}\\idefilter\\Parameters", cm::SERVICES);
    let record = cm::get(&path, "ThisBoot").map(|value| value.data).unwrap_or_default();
    let (shutdown, last_chance) = (shutdown / 10_000, last_chance / 10_000);
    report!("record shutdown-ms={shutdown} last-chance-ms={last_chance} hex={}", report::Hex(&record));
}

/// Tells of every device object of a driver from a file who may open it.
unsafe fn report_devices() {
    // SAFETY: driver and device objects stay until their driver is unloaded, which nothing does here.
    unsafe {
        for (name, driver) in driver::loaded() {
            if (*driver).driver_start.is_null() {
                continue;
            }
            let mut device = (*driver).device_object;
            while !device.is_null() {
                let allowed = ob::security(device.cast()).and_then(|descriptor| ob::allowed(&descriptor));
                let access = match allowed {
                    None => "everyone",
                    Some(entries) if entries.iter().all(|(_, sid)| PRIVILEGED.contains(&sid.as_slice())) => {
                        "restricted"
                    }
                    Some(_) => "others",
                };
                report!(
                    "device driver={name} name={} access={access}",
                    Escaped(&ob::name(device.cast()).unwrap_or_default())
                );
                device = (*device).next_device;
            }
        }
    }
}

/// S-1-5-18 (SYSTEM) and S-1-5-32-544 (Administrators) as they stand in an ACE ([MS-DTYP] 2.4.2.2).
const PRIVILEGED: [&[u8]; 2] =
    [&[1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0], &[1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0]];

/// Makes happen what the command line asks for before the session manager runs.
fn early_faults() {
    named_file::fill(boot::options().faults.contains(&Fault::VolumeFull));
    if boot::options().faults.contains(&Fault::EarlyCrash) {
        ke::KeBugCheckEx(INACCESSIBLE_BOOT_DEVICE, 0, 0, 0, 0);
    }
}

/// More disks than xenvbd has threads to read them.
const MANY: usize = 40;
/// Its number of threads.
const READERS: usize = 32;
/// Time that a slow disk takes for a read: longer than what is done meanwhile, and shorter than what is waited for.
const SLOW: Duration = Duration::from_secs(1);
/// Time that a disk takes for which nobody waits any more.
const LATE: Duration = Duration::from_secs(7);
/// Time within which a second path is looked at that shows late what was written through the first, in milliseconds.
const SHOWN_LATE: u64 = 30_000;
/// Time within which a disk is looked at that could not be read before, in milliseconds.
const READ_LATE: u64 = 60_000;
const INACCESSIBLE_BOOT_DEVICE: u32 = 0x7B;
const MANUALLY_INITIATED_CRASH: u32 = 0xE2;

/// Waits until the system has a disk of this number, and everybody has heard of it.
fn wait_for_disk(number: u32) {
    let name = alloc::format!("\\Device\\Harddisk{number}\\DR{number}");
    exercise::wait_until("another disk", || ob::namespace::lookup(&name).is_some());
    pnp::settle();
}

/// Makes happen what the command line asks for once the system is up.
unsafe fn faults(root: *mut DeviceObject) {
    // SAFETY: the caller keeps `root` valid for this call.
    unsafe {
        for fault in &boot::options().faults {
            match fault {
                Fault::EarlyCrash | Fault::NoSecondThread | Fault::RegistryFull | Fault::VolumeFull => {}
                // Somebody else's bugcheck, with the system up.
                Fault::LateCrash => ke::KeBugCheckEx(MANUALLY_INITIATED_CRASH, 0, 0, 0, 0),
                // The power goes.
                Fault::PowerCut => {
                    report!("end verdict=cut");
                    po::power_off()
                }
                // The IDE controller comes back on a path that no filter is on.
                Fault::IdeReturn => {
                    crate::log!("fault: the IDE controller comes back behind the filter");
                    report_ide();
                    pnp::settle();
                }
                // Memory has run out for idefilter, and stays so.
                Fault::StarveIdefilter => inject::starve("idefilter"),
                // Others run before the system does what idefilter answered.
                Fault::HeldUp => inject::hold_up("idefilter"),
                // A disk arrives that never answers a read.
                Fault::DeadDisk => {
                    disk::foreign::arrive(Content::Silence);
                    pnp::settle();
                }
                // A PV disk gets a partition table, and then there is a second path to it.
                Fault::Signed => {
                    disk::foreign::sign(1, OTHER_SIGNATURE);
                    disk::foreign::arrive(Content::Disk(1));
                    pnp::settle();
                    ke::delay(SETTLED);
                }
                // The same behind another disk: its census must not be taken for that of the second path.
                Fault::SignedBehind => {
                    disk::foreign::sign(1, OTHER_SIGNATURE);
                    disk::foreign::arrive(Content::Signature(0));
                    disk::foreign::arrive_slow(Content::Disk(1), SLOW);
                    pnp::settle();
                    ke::delay(SETTLED);
                }
                // The same when nobody waits for the second path any more.
                Fault::SignedLate => {
                    disk::foreign::sign(1, OTHER_SIGNATURE);
                    disk::foreign::arrive_slow(Content::Disk(1), LATE);
                    pnp::settle();
                    ke::delay(SETTLED);
                }
                // A second path is there when the PV disk gets a partition table.
                Fault::SignedAfter => {
                    disk::foreign::arrive(Content::Disk(1));
                    pnp::settle();
                    // The census of a system that has settled must not be the one that finds it.
                    ke::delay(SETTLED);
                    disk::foreign::sign(1, OTHER_SIGNATURE);
                    ke::delay(SETTLED);
                }
                // The same with the second path on a vbd.
                Fault::SignedTwice => {
                    exercise::ask(Ready::Attach);
                    wait_for_disk(2);
                    disk::foreign::sign(1, OTHER_SIGNATURE);
                    ke::delay(SHOWN_LATE);
                }
                // The same, and both are set up, as in "Initialize Disk" with two of them ticked.
                Fault::SetUpTwice => {
                    exercise::ask(Ready::Attach);
                    wait_for_disk(2);
                    disk::foreign::sign(1, OTHER_SIGNATURE);
                    disk::foreign::sign(2, !OTHER_SIGNATURE);
                    ke::delay(SETTLED);
                }
                // A disk is copied from storage that the host does not know, as one is restored from an image.
                Fault::Copied => {
                    disk::foreign::arrive(Content::Signature(OTHER_SIGNATURE));
                    pnp::settle();
                    disk::foreign::sign(1, OTHER_SIGNATURE);
                    ke::delay(SETTLED);
                }
                // Two blank disks are set up, and then one is copied onto the other.
                Fault::Cloned => {
                    exercise::ask(Ready::Attach);
                    wait_for_disk(2);
                    for (number, signature) in
                        [(1, OTHER_SIGNATURE), (2, !OTHER_SIGNATURE), (2, OTHER_SIGNATURE)]
                    {
                        disk::foreign::sign(number, signature);
                        ke::delay(SETTLED);
                    }
                }
                // A disk cannot be read when another comes that may be a second path to it.
                Fault::ReadLate => {
                    exercise::ask(Ready::Attach);
                    wait_for_disk(1);
                    disk::foreign::arrive(Content::Signature(OTHER_SIGNATURE));
                    pnp::settle();
                    ke::delay(READ_LATE);
                }
                // A second path is hard to recognise.
                Fault::OddAlias => {
                    disk::foreign::arrive(Content::OddDisk(0));
                    pnp::settle();
                    ke::delay(SETTLED);
                }
                // An array's host is gone, and every thread that reads disks waits for one of its units.
                Fault::SilentUnits => {
                    for _ in 0..READERS {
                        disk::foreign::arrive(Content::SilentUnit);
                    }
                    pnp::settle();
                    disk::foreign::arrive(Content::Disk(0));
                    pnp::settle();
                    ke::delay(SETTLED);
                }
                // Every disk is read again for a PV disk that is attached, and not all are as fast.
                Fault::SlowUnit => {
                    disk::foreign::arrive(Content::Signature(0));
                    disk::foreign::arrive_slow(Content::Signature(OTHER_SIGNATURE), SLOW);
                    pnp::settle();
                    exercise::ask(Ready::Attach);
                    exercise::wait_until("a second volume", || mountmgr::is_mounted(1));
                    mountmgr::file_test();
                }
                // The host gives the guest the boot disk once more, on USB.
                Fault::UsbAlias => {
                    disk::foreign::arrive(Content::UsbDisk(0));
                    pnp::settle();
                    ke::delay(SETTLED);
                }
                // A storage array's units come; the census of a system that has settled has them read all at once.
                Fault::ManyForeign => {
                    for _ in 0..MANY {
                        disk::foreign::arrive(Content::Signature(0));
                    }
                    pnp::settle();
                    ke::delay(2 * SETTLED);
                }
                // A disk goes, and in its place there is a second path to the boot disk.
                Fault::Exchanged => {
                    let one = disk::foreign::arrive(Content::Signature(OTHER_SIGNATURE));
                    pnp::settle();
                    let gone = pnp::remove_root_device(one);
                    report!("removed root={}", u8::from(gone));
                    disk::foreign::arrive(Content::Disk(0));
                    pnp::settle();
                    ke::delay(SETTLED);
                }
                // A driver cannot see any more which disks there are, when one comes.
                Fault::Unlisted => {
                    pnp::list_no_more();
                    disk::foreign::arrive(Content::Silence);
                    pnp::settle();
                }
                // Disks are heard of late, and by xenvbd not at all. It has taken the census that it takes when
                // the system has settled.
                Fault::Unheard => {
                    ke::delay(SETTLED);
                    pnp::lose_notifications("xenvbd", UNHEARD);
                }
                // The bus is asked again for what is on it.
                Fault::Requery => {
                    pnp::IoInvalidateDeviceRelations(root, BUS_RELATIONS);
                    pnp::settle();
                }
                // A controller comes to a system that runs.
                Fault::Plugged => {
                    exercise::ask(Ready::Attach);
                    exercise::wait_until("a SCSI controller", pci::has_scsi);
                    for _ in 0..2 {
                        pnp::IoInvalidateDeviceRelations(root, BUS_RELATIONS);
                        pnp::settle();
                    }
                }
                // The last root bus goes in order, and with it the filter on it.
                Fault::RootRemoved => {
                    let gone = pnp::remove_root_device(root);
                    report!("removed root={}", u8::from(gone));
                }
                // A filter of the disk's has an interface of its own for it.
                Fault::SecondInterface => {
                    let Some(xenvbd) = driver::find("xenvbd") else {
                        ke::panicked(format_args!("xenvbd is not loaded"));
                    };
                    pnp::enable_interface_again(&GUID_DEVINTERFACE_DISK, xenvbd);
                    pnp::settle();
                }
                // The platform device goes without a word.
                Fault::PlatformLost => {
                    let gone = pnp::surprise_remove("xenpci");
                    report!(
                        "removed service=xenpci devices={gone} loaded={}",
                        u8::from(driver::find("xenpci").is_some())
                    );
                }
            }
        }
    }
}
