//! Breaks the guard on purpose, one place at a time, in a copy of the workspace, and sees which test catches
//! it.

mod draw;
mod drawn;
mod page;
mod rules;
mod run;
mod source;

pub use drawn::run as run_drawn;
pub use run::{AT_ONCE, Choice, run};

/// One deliberate breakage.
struct Mutant {
    /// A line that says what is broken.
    what: &'static str,
    file: &'static str,
    /// Code that stands in the file exactly once; its layout and comments do not count.
    from: &'static str,
    to: &'static str,
    /// Tests that must catch it.
    caught_by: &'static [Catch],
}

/// A test that must fail.
#[derive(Clone, Copy)]
enum Catch {
    /// The host tests of a package.
    Host(&'static str),
    /// A test of a package's folder `tests`.
    Integration(&'static str, &'static str),
    /// A guest scenario.
    Guest(&'static str),
    /// The host tests of guard, or where they do not the model.
    Rule,
    /// None can: the program does what it did, for this reason. No rule's test may fail.
    Equivalent(&'static str),
}

use Catch::{Guest, Host, Integration};

/// Faults in a driver, a library or `bootcfg`.
const MUTANTS: &[Mutant] = &[
    Mutant {
        what: "an alias in a census after exposure is not judged",
        file: "guard/src/machine/mod.rs",
        from: "Phase::Exposed if counts.alias > 0 =>",
        to: "Phase::Exposed if counts.alias > u32::MAX - 1 =>",
        caught_by: &[Host("guard"), Guest("alias-returns")],
    },
    Mutant {
        what: "hiding is not asked for as proof",
        file: "guard/src/machine/mod.rs",
        from: "Phase::Hiding => match self.missing_proof() {",
        to: "Phase::Hiding => match None::<Reason> {",
        caught_by: &[Host("guard"), Guest("proof-alone")],
    },
    Mutant {
        what: "a token that merely begins with GPLPV selects PV",
        file: "guard/src/options.rs",
        from: "b\"GPLPV\" if !token.is_longer() =>",
        to: "start if start.starts_with(b\"GPLPV\") =>",
        caught_by: &[Host("guard"), Guest("option-gplpvx")],
    },
    Mutant {
        what: "safe mode does not object",
        file: "guard/src/decision.rs",
        from: "if options.safe_boot() || inputs.safe_mode() {",
        to: "if false {",
        caught_by: &[Host("guard"), Guest("safe-mode")],
    },
    Mutant {
        what: "a disabled xenvbd does not object",
        file: "guard/src/decision.rs",
        from: "ready(inputs.xenvbd(), Reason::XenvbdDisabled)?;",
        to: "let _ = ready(inputs.xenvbd(), Reason::XenvbdDisabled);",
        caught_by: &[Host("guard"), Guest("xenvbd-disabled")],
    },
    Mutant {
        what: "the filter leaves the controller in the bus relations",
        file: "idefilter/src/relations.rs",
        from: "        !alias\n    });",
        to: "        let _ = alias;\n        true\n    });",
        caught_by: &[Guest("pv")],
    },
    Mutant {
        what: "a bus's answer that comes late is not waited for",
        file: "wdm/src/irp.rs",
        from: "if status == NtStatus::PENDING.0 {\n                event",
        to: "if false && status == NtStatus::PENDING.0 {\n                event",
        caught_by: &[Guest("hide-alone")],
    },
    Mutant {
        what: "no census is taken when a disk arrives",
        file: "xenvbd/src/adapter.rs",
        from: "(self.take_census(false), shown)",
        to: "(Ok::<(), Withheld>(()), shown)",
        caught_by: &[Guest("alias-returns")],
    },
    Mutant {
        what: "the decision does not compare the vbds",
        file: "survey/src/lib.rs",
        from: "backings.iter().find(earlier)",
        to: "backings.iter().find(earlier).filter(|_| false)",
        caught_by: &[Integration("explore", "fixed_seed"), Guest("twice-qdisk")],
    },
    Mutant {
        what: "a vbd on another disk's backing is connected",
        file: "xenvbd/src/vbd_list.rs",
        from: "own.and_then(|own| sharing(adapter, target.number(), &own))",
        to: "own.and_then(|own| sharing(adapter, target.number(), &own)).filter(|_| false)",
        caught_by: &[Guest("twice-hotplug")],
    },
    Mutant {
        what: "a reset is said to be done while the backend has requests",
        file: "xenvbd/src/target.rs",
        from: "self.channels.iter().all(|channel| channel.is_idle()) }",
        to: "true }",
        caught_by: &[Guest("backend-stops-reset")],
    },
    Mutant {
        what: "a disk's blocks that cannot be read do not object",
        file: "survey/src/lib.rs",
        from: "store::read_optional(store, &xenbus.backend_path().join(\"sector-size\")?)?;",
        to: "store::read_optional(store, &xenbus.backend_path().join(\"sector-size\")?).unwrap_or(None);",
        caught_by: &[Guest("block-size-unreadable")],
    },
    Mutant {
        what: "a disk is taken away although PnP was not asked",
        file: "xenvbd/src/vbd_list.rs",
        from: "(None, End::Closing) if ask(platform, adapter, known, id) => None,",
        to: "(None, End::Closing) if false && ask(platform, adapter, known, id) => None,",
        caught_by: &[Guest("detach")],
    },
    Mutant {
        what: "no disk says that it may be removed",
        file: "xenvbd/src/srb.rs",
        from: "capabilities.set_Removable(1);",
        to: "capabilities.set_Removable(0);",
        caught_by: &[Guest("detach")],
    },
    Mutant {
        what: "the toolstack is not told that a disk stays",
        file: "xenvbd/src/vbd_list.rs",
        from: "write_error(platform, known.device, format_args!(\"it is in use\"));",
        to: "",
        caught_by: &[Guest("detach-in-use")],
    },
    Mutant {
        what: "a backend that is restarted over another disk's backing is connected",
        file: "xenvbd/src/target.rs",
        from: "sharing(&Own { identity: self.identity, backing })",
        to: "sharing(&Own { identity: self.identity, backing }).filter(|_| false)",
        caught_by: &[Guest("twice-swapped")],
    },
    Mutant {
        what: "a vbd whose nodes were made anew is overlooked",
        file: "xenvbd/src/vbd_list.rs",
        from: "if !with(&|target| target.is_replaced()) {",
        to: "if !with(&|target| target.is_replaced()) || true {",
        caught_by: &[Guest("vbd-replaced")],
    },
    Mutant {
        what: "xenpci attaches to whatever it is given",
        file: "xenpci/src/fdo.rs",
        from: "if !is_platform_device(pdo) {",
        to: "if !is_platform_device(pdo) && false {",
        caught_by: &[Guest("xenpci-among-filters")],
    },
    Mutant {
        what: "a class that nobody has registered is an error",
        file: "wdm/src/interface.rs",
        from: "Err(NtStatus::OBJECT_NAME_NOT_FOUND) => return Ok(Vec::new()),",
        to: "",
        caught_by: &[Guest("class-unregistered")],
    },
    Mutant {
        what: "whether the store has room for a disk's nodes is not tried",
        file: "idefilter/src/pv_disks.rs",
        from: "survey::has_room(&mut client).map_err(Failure::Survey)?;",
        to: "",
        caught_by: &[Guest("store-quota")],
    },
    Mutant {
        what: "nodes that were tried stay in the store",
        file: "survey/src/lib.rs",
        from: "match store.remove(&folder) {",
        to: "match Ok::<(), store::Error>(()) {",
        caught_by: &[Host("survey")],
    },
    Mutant {
        what: "a new line of the activity log wakes no reader",
        file: "idefilter/src/activity.rs",
        from: "signals::raise(Signals::LINES);",
        to: "",
        caught_by: &[Guest("reader")],
    },
    Mutant {
        what: "a reader of lines that dies keeps its request",
        file: "xenpci/src/channel.rs",
        from: "for readers in [&self.event_readers, &self.line_readers] {",
        to: "for readers in [&self.event_readers] {",
        caught_by: &[Guest("reader")],
    },
    Mutant {
        what: "lines that a reader cannot have are not counted for it",
        file: "guard/src/activity.rs",
        from: "return Some((line, line.number - wanted))",
        to: "return Some((line, 0))",
        caught_by: &[Guest("reader")],
    },
    Mutant {
        what: "a heartbeat that the store refused is not told again",
        file: "xenpci/src/state.rs",
        from: "if told.is_ok() {",
        to: "{",
        caught_by: &[Guest("service-full-store")],
    },
    Mutant {
        what: "a shutdown in order leaves the boot count",
        file: "idefilter/src/boot_count.rs",
        from: "if read().is_ok_and(|count| count != 0)",
        to: "if false",
        caught_by: &[Guest("quick-restarts")],
    },
    Mutant {
        what: "a shutdown in order leaves no record",
        file: "idefilter/src/at_shutdown.rs",
        from: "last_boot::at_shutdown();",
        to: "let _ = last_boot::at_shutdown;",
        caught_by: &[Guest("pv")],
    },
    Mutant {
        what: "the host is not told of the end of an emulated boot",
        file: "xenpci/src/emulated.rs",
        from: "Ok(()) => last_word::hear_of_last_chance(device),",
        to: "Ok(()) => {}",
        caught_by: &[Guest("emulated")],
    },
    Mutant {
        what: "the activity log's last lines are not written at a shutdown",
        file: "idefilter/src/at_shutdown.rs",
        from: "activity::at_shutdown();",
        to: "let _ = activity::at_shutdown;",
        caught_by: &[Guest("pv")],
    },
    Mutant {
        what: "lines of the activity log whose write failed are passed over",
        file: "idefilter/src/activity.rs",
        from: "        append(&text)?;",
        to: "        let _ = append(&text);",
        caught_by: &[Guest("activity")],
    },
    Mutant {
        what: "a write of the activity log that failed is not tried again at the shutdown",
        file: "idefilter/src/activity.rs",
        from: "        if last {",
        to: "        if worker.is_closing() {",
        caught_by: &[Guest("volume-full")],
    },
    Mutant {
        what: "the activity log grows without a bound",
        file: "idefilter/src/activity.rs",
        from: "if file.length()? + text.len() as u64 > activity::FILE_BYTES {",
        to: "if file.length()? + (text.len() as u64) < 1 {",
        caught_by: &[Guest("activity")],
    },
    Mutant {
        what: "a line of the activity log wakes nobody",
        file: "idefilter/src/activity.rs",
        from: "worker.from_anywhere.queue();",
        to: "let _ = &worker.from_anywhere;",
        caught_by: &[Guest("activity")],
    },
    Mutant {
        what: "the activity log's folder is not made",
        file: "idefilter/src/activity.rs",
        from: "File::make_folder(utf16!(activity::FOLDER))?;",
        to: "",
        caught_by: &[Guest("pv")],
    },
    Mutant {
        what: "a place of the activity log that is being written is taken over",
        file: "guard/src/activity.rs",
        from: "let free = before.is_multiple_of(2) && before < 2 * number;",
        to: "let free = before < 2 * number;",
        caught_by: &[Host("guard")],
    },
    Mutant {
        what: "a line that is torn is read",
        file: "guard/src/activity.rs",
        from: "same.then_some(Line",
        to: "(same || true).then_some(Line",
        caught_by: &[Host("guard")],
    },
    Mutant {
        what: "the record of the boot before is not put aside",
        file: "idefilter/src/last_boot.rs",
        from: "let before = put_aside();",
        to: "let before = LastBoot::parse(&[]);",
        caught_by: &[Guest("stopped-told")],
    },
    Mutant {
        what: "the last boot's crash dump is not looked for",
        file: "idefilter/src/last_boot.rs",
        from: "for _ in 0..LOOKS {",
        to: "for _ in 0..LOOKS * 0 {",
        caught_by: &[Guest("stopped-told")],
    },
    Mutant {
        what: "a stop is told without its record",
        file: "idefilter/src/last_boot.rs",
        from: "let _ = key.set(utf16!(last_boot::LAST), BINARY, &before.to_bytes());",
        to: "let _ = &key;",
        caught_by: &[Guest("stopped-told")],
    },
    Mutant {
        what: "the dump of an older boot is taken for the last one's",
        file: "guard/src/crash_dump.rs",
        from: "self.at.saturating_add(DAY) >= started",
        to: "self.at.saturating_add(DAY) >= started || started > 0",
        caught_by: &[Host("guard")],
    },
    Mutant {
        what: "another's bugcheck of the same code is taken for the guard's",
        file: "guard/src/crash_dump.rs",
        from: "(code == BUGCHECK_CODE).then_some(stop)",
        to: "(code != 0).then_some(stop)",
        caught_by: &[Host("guard")],
    },
    Mutant {
        what: "the host is not told of a shutdown",
        file: "xenpci/src/fdo.rs",
        from: "Some(farewell) => farewell.say(),",
        to: "Some(farewell) => drop(farewell),",
        caught_by: &[Guest("pv")],
    },
    Mutant {
        what: "a bugcheck callback stays when its driver goes",
        file: "wdm/src/bugcheck.rs",
        from: "let accepted = register() != 0;",
        to: "let accepted = register() == 0;",
        caught_by: &[Guest("platform-lost-withheld")],
    },
    Mutant {
        what: "a PV boot counts as up at once",
        file: "idefilter/src/boot_count.rs",
        from: "time::sleep(Duration::from_secs(up_after.into()));",
        to: "let _ = (up_after, Duration::from_secs(1));",
        caught_by: &[Guest("failed-boots")],
    },
    Mutant {
        what: "a disk is not known as an emulated one",
        file: "idefilter/src/storage_filter.rs",
        from: "disk |= is_emulated_disk(id);",
        to: "disk |= is_emulated_disk(id) && false;",
        caught_by: &[Guest("disk-refused")],
    },
    Mutant {
        what: "a device that got no filter is not told of",
        file: "idefilter/src/storage_filter.rs",
        from: "state::tell(Event::StorageUnfiltered);",
        to: "let _ = Event::StorageUnfiltered;",
        caught_by: &[Guest("refused-without-memory")],
    },
    Mutant {
        what: "a bus that answers nothing for a child is believed",
        file: "idefilter/src/relations.rs",
        from: "if request::read_config(child, 0, &mut header) == Ok(header.len()) {",
        to: "if request::read_config(child, 0, &mut header) != Ok(header.len()) {",
        caught_by: &[Guest("no-read-config")],
    },
    Mutant {
        what: "a reference to a device is never given back",
        file: "wdm/src/device.rs",
        from: "unsafe { ObfDereferenceObject(self.0.as_ptr().cast()) };",
        to: "let _ = ObfDereferenceObject;",
        caught_by: &[Guest("detach")],
    },
    Mutant {
        what: "memory for a stop is never given back",
        file: "xenpci/src/last_word.rs",
        from: "drop(unsafe { Box::from_raw(self.0.as_ptr()) });",
        to: "let _ = self.0.as_ptr();",
        caught_by: &[Guest("platform-lost-withheld")],
    },
    Mutant {
        what: "the bus does not say that it may not be disabled",
        file: "xenpci/src/fdo.rs",
        from: "fdo.files.add_state(&mut irp);",
        to: "let _ = &fdo.files;",
        caught_by: &[Guest("usage")],
    },
    Mutant {
        what: "the suspend thread is not told to end",
        file: "xenpci/src/suspend.rs",
        from: "self.signal.stopping.store(true, Ordering::Release);",
        to: "",
        caught_by: &[Guest("platform-lost-withheld")],
    },
    Mutant {
        what: "an end in order counts as a failed boot in dom0",
        file: "dom0/src/failed_boots.rs",
        from: "if came_up || guest.in_order || emulated {",
        to: "if came_up || emulated {",
        caught_by: &[Host("xenguard-dom0")],
    },
    Mutant {
        what: "the host is not told of a stop",
        file: "xenpci/src/last_word.rs",
        from: "let _ = connection.tell(&record(status, End::Stopped(stop)));",
        to: "let _ = (connection, record(status, End::Stopped(stop)));",
        caught_by: &[Guest("alias-returns")],
    },
    Mutant {
        what: "the toolstack is not told of the drivers",
        file: "xenpci/src/state.rs",
        from: "store.write(XENPCI.0, XENPCI.1.as_bytes())?;",
        to: "let _ = XENPCI;",
        caught_by: &[Guest("pv")],
    },
    Mutant {
        what: "an emulated boot tells of drivers that serve nothing",
        file: "xenpci/src/state.rs",
        from: "if !serves { return Ok(()); }",
        to: "let _ = serves;",
        caught_by: &[Guest("emulated")],
    },
    Mutant {
        what: "a store that does not answer keeps a shutdown waiting",
        file: "xenpci/src/suspend.rs",
        from: "const PATIENCE: Duration = Duration::from_secs(2);",
        to: "const PATIENCE: Duration = Duration::from_secs(2000);",
        caught_by: &[Guest("store-stopped")],
    },
    Mutant {
        what: "`xenguard status` offline does not look at a crash dump",
        file: "bootcfg/src/system/records.rs",
        from: "if boot.end != End::Unknown || !boot.is_pv() {",
        to: "if true {",
        caught_by: &[Host("bootcfg")],
    },
    Mutant {
        what: "`xenguard log` is silent about lines that are lost",
        file: "bootcfg/src/command/log.rs",
        from: "if next.lost > 0 {",
        to: "if false {",
        caught_by: &[Host("bootcfg")],
    },
    Mutant {
        what: "NVMe disks are unplugged",
        file: "idefilter/src/unplug.rs",
        from: "const DISKS: u16 = 1 << 0;",
        to: "const DISKS: u16 = 1 << 0 | 1 << 3;",
        caught_by: &[Guest("nvme-unplug")],
    },
    Mutant {
        what: "a folder without a backend is an error",
        file: "survey/src/lib.rs",
        from: "Err(error) if error.is_no_device() => continue,",
        to: "",
        caught_by: &[Integration("explore", "fixed_seed"), Guest("stale-folder")],
    },
    Mutant {
        what: "a backend that the firmware has closed is not ready",
        file: "survey/src/lib.rs",
        from: "State::Closing | State::Closed => is_online(store, &xenbus)?,",
        to: "",
        caught_by: &[Integration("explore", "fixed_seed"), Guest("firmware-closed")],
    },
    Mutant {
        what: "grants that firmware left mapped are given out again",
        file: "xen/src/grant.rs",
        from: "            table.reclaim(index as u32);",
        to: "            table.flags(index as u32).store(0, Ordering::SeqCst);\n            table.reclaim(index as u32);",
        caught_by: &[Host("xen")],
    },
    Mutant {
        what: "START goes down with the interrupt messages that xenpci added",
        file: "xenpci/src/fdo.rs",
        from: "irp.forward_start_and_wait(lower)",
        to: "irp.forward_and_wait(lower)",
        caught_by: &[Guest("two-processors")],
    },
    Mutant {
        what: "the adapter is reported in PV boots only",
        file: "xenpci/src/fdo.rs",
        from: "    let reported = *fdo.adapter.lock();\n",
        to: "    if !interface::is_open() {\n        return None;\n    }\n    let reported = *fdo.adapter.lock();\n",
        caught_by: &[Guest("first-pv-boot")],
    },
    Mutant {
        what: "a PV boot does not ask whether Windows has installed the adapter",
        file: "guard/src/decision.rs",
        from: "if !inputs.adapter_installed().ok_or(Reason::ParametersUnreadable)? {",
        to: "if !inputs.adapter_installed().ok_or(Reason::ParametersUnreadable)? && false {",
        caught_by: &[Host("guard"), Guest("first-pv-boot")],
    },
    Mutant {
        what: "the other entry's drivers stay marked by StartOverride",
        file: "idefilter/src/start_override.rs",
        from: "cleared |= service.delete_below(utf16!(\"StartOverride\")).is_ok();",
        to: "cleared |= service.open_below(utf16!(\"StartOverride\")).is_ok();",
        caught_by: &[Guest("first-pv-boot")],
    },
    Mutant {
        what: "requests to disks may take as long as NT's own default before Windows 8",
        // Installed first, and what is there stays.
        file: "inf/xenpci.inf",
        from: "TimeOutValue,0x00010003,120",
        to: "TimeOutValue,0x00010003,10",
        caught_by: &[Guest("backend-stops")],
    },
    Mutant {
        what: "requests to PV disks may take as long as NT's own default from Windows 8 on",
        // Installed first, and what is there stays.
        file: "inf/xenpci.inf",
        from: "HKR,Parameters,IoTimeoutValue,0x00010003,120",
        to: "HKR,Parameters,IoTimeoutValue,0x00010003,10",
        caught_by: &[Guest("backend-stops-10.0")],
    },
    Mutant {
        what: "PV disks say that they are on a SCSI bus",
        file: "inf/xenvbd.inf",
        from: "HKR,Parameters,BusType,0x00010001,8",
        to: "HKR,Parameters,BusType,0x00010001,1",
        caught_by: &[Guest("two-disks")],
    },
    Mutant {
        what: "xenpci opens its services whatever the guard answers",
        file: "xenpci/src/proof.rs",
        from: "guard_client::event(Event::ExposureRequested)",
        to: "{ let _ = guard_client::event(Event::ExposureRequested); Action::Expose }",
        caught_by: &[Guest("proof-alone")],
    },
    Mutant {
        what: "a flush is answered without telling the backend",
        file: "scsi/src/lun/mod.rs",
        from: "Cache::Volatile => Outcome::Act(Action::Flush),",
        to: "Cache::Volatile => Outcome::Good(Reply::EMPTY),",
        caught_by: &[Host("scsi"), Guest("power-cuts")],
    },
    Mutant {
        what: "the frontend's wish to be woken is published without a fence",
        file: "xen/src/ring/handshake.rs",
        from: "indices.fence(); indices.load(Word::RspProd, Ordering::Relaxed)",
        to: "indices.load(Word::RspProd, Ordering::Relaxed)",
        caught_by: &[Host("xen")],
    },
    Mutant {
        what: "a backend is notified of the first request of a batch only",
        file: "xen/src/ring/mod.rs",
        from: "from != self.pushed && handshake::push(self, from, self.pushed)",
        to: "from != self.pushed && handshake::push(self, from, from.wrapping_add(1))",
        caught_by: &[Host("xen")],
    },
    Mutant {
        what: "a segment may be a part of a block",
        file: "xen/src/blkif/transfer/mod.rs",
        from: "let (unit, page) = (u64::from(block.max(SECTOR_SIZE)), PAGE_SIZE as u64);",
        to: "let (unit, page) = (u64::from(SECTOR_SIZE.min(block)), PAGE_SIZE as u64);",
        caught_by: &[Integration("vbd", "io_path")],
    },
    Mutant {
        what: "a reset of the bus does not count a disk that is being taken out",
        file: "xenvbd/src/adapter.rs",
        from: "done && self.leaving.load(Ordering::SeqCst) == 0",
        to: "done",
        caught_by: &[Guest("backend-never-back")],
    },
    Mutant {
        what: "an SRB without data is short of the bytes that its length names",
        file: "xenvbd/src/srb.rs",
        from: "if is_command && transferred",
        to: "if transferred",
        caught_by: &[Guest("srb-functions")],
    },
    Mutant {
        what: "a disk that is taken by force does not let its backend finish",
        file: "xenvbd/src/target.rs",
        from: "self.hold();\n        self.let_finish();",
        to: "self.hold();",
        caught_by: &[Guest("hostile-pages")],
    },
    Mutant {
        what: "an answer of a status that does not exist is a success",
        file: "xen/src/blkif/frontend/responses.rs",
        from: "found => return Err(Fault::Status { found }),",
        to: "_ => Ok(()),",
        caught_by: &[Host("xen"), Guest("hostile-rings")],
    },
    Mutant {
        what: "a request has as many segments as the first backend took",
        file: "xen/src/blkif/features.rs",
        from: "{ 11 } else { self.segments.min(features.segments).max(11) };",
        to: "{ 11 } else { self.segments };",
        caught_by: &[Host("xen"), Guest("moved-to-qdisk")],
    },
    Mutant {
        what: "a disk of blocks that no disk has is connected",
        file: "xen/src/blkif/disk.rs",
        from: "if !matches!(sector_size, 512 | 1024 | 2048 | 4096) {",
        to: "if sector_size == 0 {",
        caught_by: &[Host("xen"), Guest("hostile-nodes")],
    },
    Mutant {
        what: "an operation that the backend refuses is asked for again",
        file: "xen/src/blkif/frontend/responses.rs",
        from: "                self.unlearn(shadow.operation);\n",
        to: "",
        caught_by: &[Integration("vbd", "io_path")],
    },
    Mutant {
        what: "a queue that is idle has no grants of its own",
        file: "vbd/src/queue.rs",
        from: "if frontend.in_flight() == 0 && this.copy() => continue,",
        to: "if false && this.copy() => continue,",
        caught_by: &[Integration("vbd", "io_path")],
    },
    Mutant {
        what: "a fault of the backend's is a bad block",
        file: "vbd/src/answer.rs",
        from: "(Failure::Backend, _) => Answer::Sense(Sense::TRANSPORT_FAULT),",
        to: "(Failure::Backend, _) => Answer::Sense(Sense::READ_ERROR),",
        caught_by: &[Integration("vbd", "io_path")],
    },
    Mutant {
        what: "a cache that is gone is no longer flushed",
        file: "vbd/src/unit.rs",
        from: "(Cache::Volatile | Cache::Gone, Cache::NoFlush) => Cache::Gone,",
        to: "(Cache::Gone, Cache::NoFlush) => Cache::Gone,",
        caught_by: &[Host("vbd")],
    },
    Mutant {
        what: "a disk's target id is the lowest that is free",
        file: "vbd/src/target_id.rs",
        from: "own.or_else(",
        to: "own.filter(|_| false).or_else(",
        caught_by: &[Host("vbd")],
    },
    Mutant {
        what: "a page of the system's is granted to a backend that is not trusted",
        file: "vbd/src/request.rs",
        from: "if !terms.copy_all {",
        to: "if true {",
        caught_by: &[Host("vbd")],
    },
    Mutant {
        what: "an idle backend that gets a request is not asked to announce its answer",
        file: "vbd/src/queue.rs",
        from: "let again = idle && self.ask();",
        to: "let again = idle && false;",
        caught_by: &[Host("vbd")],
    },
    Mutant {
        what: "an answer is asked to be announced while nothing is in flight",
        file: "vbd/src/queue.rs",
        from: "self.rounds == 0 && frontend.in_flight() > 0",
        to: "self.rounds == 0",
        caught_by: &[Host("vbd")],
    },
    Mutant {
        what: "what a lost backend had in flight is not sent again",
        file: "vbd/src/queue.rs",
        from: "}.kept { again.insert(request); }",
        to: "}.kept {}",
        caught_by: &[Host("vbd")],
    },
    Mutant {
        what: "a write with FUA that is sent again is not flushed",
        file: "vbd/src/request.rs",
        from: "        self.begun = false;\n        self.flushing = self.work == Work::Flush;",
        to: "        self.begun = false;",
        caught_by: &[Host("vbd")],
    },
    Mutant {
        what: "a crash dump is written to a disk that nobody is connected to",
        file: "xen/src/blkif/polled/mod.rs",
        from: "&& store::read_state(store, &folder.join(\"state\")?)? == State::Connected",
        to: "&& store::read_state(store, &folder.join(\"state\")?)? != State::Unknown",
        caught_by: &[Host("xen")],
    },
    Mutant {
        what: "the session of a crashed system is not ended before a new one begins",
        file: "xen/src/xenbus.rs",
        from: "self.go(Phase::ResetClosing, Closing)",
        to: "self.go(Phase::Initialising, Initialising)",
        caught_by: &[Host("xen")],
    },
    Mutant {
        what: "a crash dump is written in an emulated boot",
        file: "xenvbd/src/dump/platform.rs",
        from: "if !polled::any_shown(&mut store, names)? {",
        to: "if !polled::any_shown(&mut store, names)? && false {",
        caught_by: &[Guest("crash-dump-refused")],
    },
    Mutant {
        what: "a copy that is started while the disks are in use takes them",
        file: "xenvbd/src/dump/platform.rs",
        from: "if !bugcheck::is_under_way() {",
        to: "if !bugcheck::is_under_way() && false {",
        caught_by: &[Guest("hibernate-refused")],
    },
    Mutant {
        what: "the owner of the platform device's power policy asks for no device power request",
        file: "wdm/src/power.rs",
        from: "if kept.irp.status().is_success() {",
        to: "if false && kept.irp.status().is_success() {",
        caught_by: &[Guest("pv")],
    },
    Mutant {
        what: "the power manager is told of D3 at the level of the dispatch routine",
        file: "wdm/src/power.rs",
        from: "unsafe { work.queue(told::<E>, self.irp.as_ptr().cast()) };",
        to: "let _ = work; self.leave_d0(state);",
        caught_by: &[Guest("pv")],
    },
    Mutant {
        what: "a power request is not followed by PoStartNextPowerIrp",
        file: "wdm/src/power.rs",
        from: "            PoStartNextPowerIrp(self.irp.as_ptr());\n            self.device.release();",
        to: "            self.device.release();",
        caught_by: &[Guest("sleep-5.2")],
    },
    Mutant {
        what: "Xen raises interrupts while the platform device sleeps",
        file: "xenpci/src/fdo.rs",
        from: "            platform.be_deaf();\n",
        to: "",
        caught_by: &[Guest("sleep")],
    },
    Mutant {
        what: "xenstore is not left to the copy that writes the hibernation file",
        file: "xenpci/src/platform.rs",
        from: "        self.store.leave_held(&held);\n",
        to: "",
        caught_by: &[Guest("hibernate")],
    },
    Mutant {
        what: "after hibernation that ends where it began the disks are not taken back",
        file: "xenvbd/src/vbd_list.rs",
        from: "let revived = goes_on.phase == Phase::Revived;",
        to: "let revived = false;",
        caught_by: &[Guest("hibernate")],
    },
    Mutant {
        what: "memory that comes back in another domain is believed to be where it was",
        file: "xenpci/src/platform.rs",
        from: "if self.window.is_populated() {",
        to: "if self.window.is_populated() || true {",
        caught_by: &[Guest("hibernate-restored")],
    },
    Mutant {
        what: "the census waits for a foreign disk that does not answer",
        file: "xenvbd/src/census.rs",
        from: "self.readers.expect_nothing(link);",
        to: "while self.readers.of(link) == Ok(Known::Reading) { time::sleep(core::time::Duration::from_millis(5)); }",
        caught_by: &[Guest("foreign-dead")],
    },
    Mutant {
        what: "a file of the system's on the adapter's disks is not counted by the bus",
        file: "xenpci/src/fdo.rs",
        from: "        fdo.files.count(comes, device.pdo());\n",
        to: "        let _ = comes;\n",
        caught_by: &[Guest("usage")],
    },
    Mutant {
        what: "the adapter may be disabled with a file of the system's on its disks",
        file: "xenpci/src/special_files.rs",
        from: "irp.set_information(irp.information() | pnp::NOT_DISABLEABLE);",
        to: "irp.set_information(irp.information() & !pnp::NOT_DISABLEABLE);",
        caught_by: &[Guest("usage")],
    },
    Mutant {
        what: "the answer to any call around a suspend counts",
        file: "xenpci/interface/src/suspend.rs",
        from: "self.answered.load(Ordering::Acquire) == made.0",
        to: "self.answered.load(Ordering::Acquire) + 1 >= made.0",
        caught_by: &[Host("xenpci-interface")],
    },
    Mutant {
        what: "the guard's status is written whole whatever room there is",
        file: "guard/src/abi.rs",
        from: "&bytes[..bytes.len().min(size as usize)]",
        to: "&bytes[..bytes.len().min((size as usize).max(Self::SIZE))]",
        caught_by: &[Host("guard")],
    },
    Mutant {
        what: "no filter is taken from the reserve",
        file: "idefilter/src/storage_filter.rs",
        from: "Err(status) => RESERVE.lock().iter_mut().find_map(Option::take).ok_or(status)?,",
        to: "Err(status) => return Err(status),",
        caught_by: &[Guest("refused-without-memory")],
    },
    Mutant {
        what: "the bus is asked for its number by a request of the system's",
        file: "idefilter/src/relations.rs",
        from: "request::query_id(child, IdType::DEVICE).map_or(",
        to: "request::query_id(child, IdType::HARDWARE).map_or(",
        caught_by: &[Guest("disks-hidden")],
    },
    Mutant {
        what: "a start that the guard refuses is passed down",
        file: "idefilter/src/storage_filter.rs",
        from: "Err(status) => irp.complete(status), } } fn ask(",
        to: "Err(_) => irp.forward(lower), } } fn ask(",
        caught_by: &[Guest("start-refused")],
    },
    Mutant {
        what: "a driver of emulated disks is loaded and nobody minds",
        file: "idefilter/src/tripwire.rs",
        from: "if serves_emulated_disks(path) {",
        to: "if path.is_empty() && serves_emulated_disks(path) {",
        caught_by: &[Guest("tripwire")],
    },
    Mutant {
        what: "the guard's word that a census is due is not heard",
        file: "xenvbd/src/adapter.rs",
        from: "left = CENSUSES;",
        to: "left = CENSUSES - CENSUSES;",
        caught_by: &[Guest("tripwire")],
    },
    Mutant {
        what: "disks stay in a channel's relations",
        file: "idefilter/src/relations.rs",
        from: "hide(irp, |child| kind(child) == Child::Disk)",
        to: "hide(irp, |child| kind(child) == Child::Disk && false)",
        caught_by: &[Guest("disks-hidden")],
    },
    Mutant {
        what: "nobody asks again when the proof becomes whole",
        file: "xenpci/src/proof.rs",
        from: "if signals.contains(Signals::ASK_AGAIN) {",
        to: "if signals.0 > 0x7fff_ffff {",
        caught_by: &[Guest("second-root")],
    },
    Mutant {
        what: "the walk of configuration space stays on bus 0",
        file: "idefilter/src/bus_filter.rs",
        from: "&& root_bus::learn(number)",
        to: "&& number == 0\n        && root_bus::learn(number)",
        caught_by: &[Guest("second-root")],
    },
    Mutant {
        what: "every filter is taken out of a list with idefilter",
        file: "guard/src/filter_list.rs",
        from: "        if is(&list[read..read + length], name) {",
        to: "        if length > 0 || is(&list[read..read + length], name) {",
        caught_by: &[Host("guard")],
    },
    Mutant {
        what: "a filter whose name begins with idefilter's is taken out",
        file: "guard/src/filter_list.rs",
        from: "    entry.len() == 2 * name.len()\n",
        to: "    entry.len() >= 2 * name.len()\n",
        caught_by: &[Host("guard")],
    },
    Mutant {
        what: "idefallback acts although idefilter is there",
        file: "guard/src/absence.rs",
        from: "(Some(BOOT_START), true) => None,",
        to: "(Some(BOOT_START), true) => Some(Self::NotLoaded),",
        caught_by: &[Host("guard"), Guest("pv")],
    },
    Mutant {
        what: "idefallback does not act on a disabled idefilter",
        file: "guard/src/absence.rs",
        from: "(Some(start), _) => Some(Self::NotBootStart(start)),",
        to: "(Some(start), loaded) => if loaded { None } else { Some(Self::NotBootStart(start)) },",
        caught_by: &[Host("guard"), Guest("idefilter-disabled")],
    },
    Mutant {
        what: "idefallback looks at the service only",
        file: "idefilter/fallback/src/lib.rs",
        from: "image::is_loaded(FILTER)?",
        to: "{ let _ = image::is_loaded(FILTER)?; true }",
        caught_by: &[Guest("idefilter-file-missing")],
    },
    Mutant {
        what: "idefallback starts after the bus drivers",
        file: "inf/idefilter.inf",
        from: "System Reserved   ; before any bus driver, whose",
        to: "System Bus Extender   ; before any bus driver, whose",
        caught_by: &[Guest("idefilter-file-missing")],
    },
    Mutant {
        what: "a vCPU takes the events of another one's ports",
        file: "xen/src/event_channel.rs",
        from: "& own & !mask;",
        to: "& (own | u64::MAX) & !mask;",
        caught_by: &[Host("xen")],
    },
    Mutant {
        what: "every event goes to the first processor",
        file: "xenpci/src/event_channels.rs",
        from: "own.unwrap_or(&self.processors[0])",
        to: "own.map_or(&self.processors[0], |_| &self.processors[0])",
        caught_by: &[Guest("two-processors")],
    },
    Mutant {
        what: "vectors are not given to Xen again after a resume",
        file: "xenpci/src/platform.rs",
        from: "self.upcall.enable()?;",
        to: "if self.epoch() == 0 { self.upcall.enable()?; }",
        caught_by: &[Guest("save-restore")],
    },
    Mutant {
        what: "Xen is not told of a reboot when the guest powers off",
        file: "xenpci/src/fdo.rs",
        from: "                    suspend.power_off();\n",
        to: "let _ = suspend;\n",
        caught_by: &[Guest("xl-reboot-withheld")],
    },
    Mutant {
        what: "a request of the toolstack's is followed and not acknowledged",
        file: "xenpci/src/control.rs",
        from: "matches!(platform.store().request(|store| store.write(NODE, b\"\")), Some(Ok(())))",
        to: "true",
        caught_by: &[Guest("xl-shutdown")],
    },
    Mutant {
        what: "a new domain is not told what is served",
        file: "xenpci/src/suspend.rs",
        from: "if anew { features.forget();",
        to: "if anew {",
        caught_by: &[Guest("save-restore")],
    },
    Mutant {
        what: "a program whose handle is closed still follows the toolstack",
        file: "guard/src/channel.rs",
        from: "if gone { *self = Self::none(); }",
        to: "",
        caught_by: &[Host("guard"), Guest("service")],
    },
    Mutant {
        what: "a program acknowledges a request that is still to come",
        file: "guard/src/channel.rs",
        from: "let carried = if carried < next { carried } else { 0 };",
        to: "let _ = next;",
        caught_by: &[Host("guard")],
    },
    Mutant {
        what: "a program that hangs keeps a request from the power button",
        file: "xenpci/src/suspend.rs",
        from: "handover.step(&follower, time_until(deadline).is_zero())",
        to: "handover.step(&follower, false)",
        caught_by: &[Guest("service")],
    },
    Mutant {
        what: "a request that the service has carried out presses the power button",
        file: "xenpci/src/suspend.rs",
        from: "features.followed(platform, &signal.ending, reboot)",
        to: "features.press(platform, button, &signal.ending, reboot)",
        caught_by: &[Guest("service")],
    },
    Mutant {
        what: "the service's node outlives the service",
        file: "xenpci/src/state.rs",
        from: "None => store.remove(&node),",
        to: "None => Ok(()),",
        caught_by: &[Guest("service")],
    },
    Mutant {
        what: "the service carries out a request from before it came",
        file: "svc/src/run/mod.rs",
        from: "own.is_some_and(|own| event.sequence >= own)",
        to: "own.is_some()",
        caught_by: &[Host("svc")],
    },
    Mutant {
        what: "the service acknowledges a shutdown that Windows refuses",
        file: "svc/src/run/mod.rs",
        from: "world.tell(Message::ShutdownFailed, &format!(\"{what}: {error}\")); false",
        to: "true",
        caught_by: &[Host("svc")],
    },
    Mutant {
        what: "the service reads a driver that was started anew from where the other one was",
        file: "svc/src/reading.rs",
        from: "self.last = None; return None;",
        to: "",
        caught_by: &[Host("svc")],
    },
    Mutant {
        what: "a removal leaves the service's keys",
        file: "bootcfg/src/install/edits.rs",
        from: "ours.into_iter().chain(service)",
        to: "{ let _ = service; ours }",
        caught_by: &[Host("bootcfg")],
    },
    Mutant {
        what: "a request of a program's that has died stays",
        file: "xenpci/src/fdo.rs",
        from: "fdo.channel.cleanup(file);",
        to: "",
        caught_by: &[Guest("reader")],
    },
    Mutant {
        what: "disks are connected anew after a suspend that was cancelled",
        file: "xenvbd/src/vbd_list.rs",
        from: "if goes_on.epoch == call.epoch && !revived {",
        to: "if goes_on.epoch != goes_on.epoch {",
        caught_by: &[Guest("copy")],
    },
    Mutant {
        what: "a PV CD-ROM drive is shown beside the emulated one",
        file: "xenvbd/src/cdrom.rs",
        from: "status.policy == PolicyNumber::CONTROLLERS",
        to: "status.policy >= PolicyNumber::CONTROLLERS",
        caught_by: &[Guest("disks-hidden")],
    },
    Mutant {
        what: "a CD-ROM drive is counted as a disk",
        file: "xenvbd/src/vbd_list.rs",
        from: "let listed = target.is_cdrom() || adapter.census()",
        to: "let listed = (target.is_cdrom() && target.number() == u32::MAX) || adapter.census()",
        caught_by: &[Guest("cdrom-pv")],
    },
    Mutant {
        what: "a CD-ROM drive takes writes",
        file: "scsi/src/cdrom/mod.rs",
        from: "| opcode::WRITE_AND_VERIFY_10 => Err(Sense::WRITE_PROTECTED),",
        to: "| opcode::WRITE_AND_VERIFY_10 => Ok(done),",
        caught_by: &[Host("scsi")],
    },
    Mutant {
        what: "requests go out again to a new backend in the order of their slots, not of their age",
        file: "vbd/src/list.rs",
        from: "let later = unsafe { other.as_ref() }.number > number;",
        to: "let later = unsafe { other.as_ref() }.number < number;",
        caught_by: &[Integration("vbd", "io_path")],
    },
    Mutant {
        what: "that a backend is not trusted is forgotten when the disk is connected",
        file: "xenvbd/src/target.rs",
        from: "self.copies_all.store(self.distrusted || persistent, Ordering::Release);",
        to: "self.copies_all.store(persistent, Ordering::Release);",
        caught_by: &[Guest("kinds")],
    },
    Mutant {
        what: "bootcfg puts a new boot file in place before it is on the disk",
        file: "bootcfg/src/replace/mod.rs",
        from: "    files.flush(temporary).with_context(|| cannot_write(temporary))?;\n",
        to: "",
        caught_by: &[Host("bootcfg")],
    },
    Mutant {
        what: "bootcfg forgets the attributes of a boot file",
        file: "bootcfg/src/replace/mod.rs",
        from: "        .set_attributes(temporary, attributes)\n",
        to: "        .set_attributes(temporary, &attributes.writable())\n",
        caught_by: &[Host("bootcfg")],
    },
    Mutant {
        what: "bootcfg leaves a new driver the rights that the file system gives it",
        file: "bootcfg/src/install/offline.rs",
        from: "self.put(&path, content, &attributes)?;",
        to: "self.put(&path, content, &Attributes { security: None, ..attributes.clone() })?;",
        caught_by: &[Host("bootcfg")],
    },
    Mutant {
        what: "bootcfg follows a link out of the guest's volume",
        file: "bootcfg/src/guest_files.rs",
        from: "    if !path_leads.starts_with(&root_leads) {\n",
        to: "    if false && !path_leads.starts_with(&root_leads) {\n",
        caught_by: &[Host("bootcfg")],
    },
    Mutant {
        what: "a log entry is applied whatever its hash",
        file: "hive/src/replay/log.rs",
        from: "hash(40..entry.len()) == first",
        to: "hash(40..entry.len()) == first || true",
        caught_by: &[Host("hive")],
    },
    Mutant {
        what: "log files are applied in the order of their names",
        file: "hive/src/replay/mod.rs",
        from: "if is_at_or_behind(one.sequence(), other.sequence()) =>",
        to: "if is_at_or_behind(one.sequence(), other.sequence()) && false =>",
        caught_by: &[Host("hive")],
    },
    Mutant {
        what: "a log file behind a gap is applied",
        file: "hive/src/replay/mod.rs",
        from: "if !done.is_empty() && log.sequence() != self.sequence.wrapping_add(1) {",
        to: "if !done.is_empty() && log.sequence() < self.sequence.wrapping_add(1) {",
        caught_by: &[Host("hive")],
    },
    Mutant {
        what: "bootcfg writes a dirty hive back as if it had no log files",
        file: "bootcfg/src/hive_file.rs",
        from: "Ok(HiveFile { content: replayed.hive, raw, replayed: names })",
        to: "Ok(HiveFile { content: raw.clone(), raw, replayed: names })",
        caught_by: &[Host("bootcfg")],
    },
    Mutant {
        what: "bootcfg writes to a disk that a domain is using",
        file: "bootcfg/src/session.rs",
        from: "if let (InUse::By(users), false) = (used, self.global.dry_run) {",
        to: "if let (InUse::By(users), false) = (used, true) {",
        caught_by: &[Host("bootcfg")],
    },
    Mutant {
        what: "bootcfg leaves out the entries that a failing removal took out",
        file: "bootcfg/src/install/offline.rs",
        from: "self.undo_all(&new, Vec::new(), error, bring_back())",
        to: "self.undo_all(&new, Vec::new(), error, Ok(()))",
        caught_by: &[Host("bootcfg")],
    },
    Mutant {
        what: "bootcfg does not reckon with a slash within a switch",
        file: "bootcfg/src/boot_ini/mod.rs",
        from: "if byte == b'/' { b' ' } else { byte }",
        to: "byte",
        caught_by: &[Host("bootcfg")],
    },
    Mutant {
        what: "install says of a PV default that it boots emulated",
        file: "bootcfg/src/command/install.rs",
        from: "Some(entry) if entry.pv =>",
        to: "Some(entry) if false && entry.pv =>",
        caught_by: &[Host("bootcfg")],
    },
    Mutant {
        what: "clean takes a filter of nobody's suite out of the lists",
        file: "bootcfg/src/install/clean.rs",
        from: "suites::of_driver(&name).is_some() && !self.kept.contains(&name)",
        to: "suites::of_driver(&name).is_some() || !self.kept.contains(&name)",
        caught_by: &[Host("bootcfg")],
    },
    Mutant {
        what: "clean leaves a system without a driver for its boot disk",
        file: "bootcfg/src/install/clean.rs",
        from: "        refuse_without_emulated(hive, &sets)?;\n",
        to: "",
        caught_by: &[Host("bootcfg")],
    },
    Mutant {
        what: "the executive takes a word that it does not know for another one",
        file: "tests/protocol/src/word.rs",
        from: "\"silent-roots\" => Self::SilentRoots, _ => return Err(Unknown),",
        to: "\"silent-roots\" => Self::SilentRoots, _ => Self::LookAlike,",
        caught_by: &[Host("protocol")],
    },
    Mutant {
        what: "the checks of a guest's own are not run",
        file: "tests/guests/src/verdict.rs",
        from: "in EVERY.iter().chain(scenario.checks) {",
        to: "in EVERY.iter() {",
        caught_by: &[Host("guests")],
    },
    Mutant {
        what: "a guest that the rig failed is not run again",
        file: "xtask/src/test.rs",
        from: "if by_rig && again {",
        to: "if by_rig && again && name.is_empty() {",
        caught_by: &[Host("xtask")],
    },
    Mutant {
        what: "the loader takes a driver that StartOverride leaves out",
        file: "tests/osloader/src/load.rs",
        from: "version >= Version::Nt63 && drivers::is_left_out(&set, service)",
        to: "version > Version::Nt100 && drivers::is_left_out(&set, service)",
        caught_by: &[Host("osloader")],
    },
    Mutant {
        what: "the loader takes drivers as they stand in the registry",
        file: "tests/osloader/src/drivers.rs",
        from: "drivers.sort();",
        to: "",
        caught_by: &[Host("osloader")],
    },
    Mutant {
        what: "the loader takes drivers that are not boot-start",
        file: "tests/osloader/src/drivers.rs",
        from: "registry.number(&path, \"Start\") != Some(BOOT_START) || leaves_out",
        to: "registry.number(&path, \"Start\").is_none() || leaves_out",
        caught_by: &[Host("osloader")],
    },
    Mutant {
        what: "the loader does not follow imports",
        file: "tests/osloader/src/load.rs",
        from: "while let Some(name) = wanted.pop() {",
        to: "if let Some(name) = wanted.pop() {",
        caught_by: &[Host("osloader")],
    },
    Mutant {
        what: "the loader starts the first entry where nobody chooses",
        file: "tests/osloader/src/boot_ini.rs",
        from: "entries.iter().position(is_default).unwrap_or(0) + 1",
        to: "entries.iter().position(is_default).map_or(1, |_| 1)",
        caught_by: &[Host("osloader")],
    },
    Mutant {
        what: "the loader starts with another control set than the default",
        file: "tests/osloader/src/control_set.rs",
        from: "select.dword(\"Default\")",
        to: "select.dword(\"Current\")",
        caught_by: &[Host("osloader")],
    },
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;
    use crate::layout::Layout;

    /// The list is held against the sources, so that a change of a rule brings its mutant along.
    #[test]
    fn every_mutant_can_be_applied() {
        let mut wrong = Vec::new();
        for mutant in MUTANTS.iter().chain(rules::all()) {
            let path = Layout::here().root().join(mutant.file);
            let text = fs::read_to_string(&path).expect(mutant.file);
            let found = source::places(&text, mutant.from).len();
            if found != 1 || source::has_comments(mutant.from) || mutant.from == mutant.to {
                wrong.push(format!(
                    "{}: `{}` stands {found} times in {}",
                    mutant.what, mutant.from, mutant.file
                ));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn every_guest_is_in_the_catalogue() {
        let boots = guests::catalogue::boots().map(|boot| boot.name);
        let sequences = guests::catalogue::sequences().map(|one| one.name);
        let known: BTreeSet<_> = boots.chain(sequences).chain([guests::endurance::SAMPLE]).collect();
        for mutant in MUTANTS {
            for catch in mutant.caught_by {
                if let Guest(name) = catch {
                    assert!(known.contains(name), "{}: {name}", mutant.what);
                }
            }
        }
    }

    /// The page's rows are told apart by their names.
    #[test]
    fn every_mutant_has_its_name() {
        let mut names = BTreeSet::new();
        for mutant in MUTANTS.iter().chain(rules::all()) {
            assert!(names.insert(mutant.what), "{}", mutant.what);
        }
    }
}
