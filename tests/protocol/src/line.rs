//! Report lines of the executive.

use crate::name::named;

named! {
    /// The kind of a report line, its first word after `@xg`.
    Line {
        /// The lines that the exercise added to the activity log.
        Activity = "activity",
        /// The guest was asked to end, and by whom.
        Asked = "asked",
        /// The entry for one boot was taken out of the boot configuration data.
        Bcd = "bcd",
        /// The entry of the boot menu and its options.
        Boot = "boot",
        /// A bugcheck: code and parameters.
        Bugcheck = "bugcheck",
        /// A step of the power manager's with a system button.
        Button = "button",
        /// Requests that Storport held back because a queue was busy.
        Busy = "busy",
        /// A disk's capacity before it changes.
        Capacity = "capacity",
        /// One step of the CD-ROM exercise.
        Cd = "cd",
        /// A CD-ROM drive and the volume in it.
        Cdrom = "cdrom",
        /// The system's clock was set by the machine's.
        Clock = "clock",
        /// Completed requests by processor.
        Completions = "completions",
        /// The copy of the guest is over.
        Copied = "copied",
        /// A crash with requests in flight.
        Crash = "crash",
        /// Free text.
        Debug = "dbg",
        /// A device object, and who may open it.
        Device = "device",
        /// A disk that has arrived.
        Disk = "disk",
        /// A volume that is dismounted.
        Dismount = "dismount",
        /// A read that a disk took and will never answer.
        DeadDisk = "dead-disk",
        /// A sector that is not as it was written.
        Differs = "differs",
        /// A step of the crash dump, and what came of it.
        Dump = "dump",
        /// Bytes of secondary dump data.
        DumpData = "dumpdata",
        /// The outcome of a driver's request that a device be ejected.
        Ejected = "ejected",
        /// The last line: how the boot ended.
        End = "end",
        /// An entry of the event log.
        Event = "event",
        /// The file test on one volume.
        File = "file",
        /// A file of the endurance run that is on the disk.
        Flushed = "flushed",
        /// SRB functions at an address that were answered with one status.
        Functions = "functions",
        /// Begin or end of what is written to the registry's hives.
        Flush = "flush",
        /// A step of a disk's on its way to another power state.
        DiskPower = "disk-power",
        /// A disk that is gone, and what is left of it.
        Gone = "gone",
        /// The request that was made to fail.
        Injected = "injected",
        /// Interrupts taken by processor.
        Interrupts = "interrupts",
        /// A file of the endurance run as the boot finds it.
        Kept = "kept",
        /// One raw disk's answers.
        Kind = "kind",
        /// A driver that was loaded, and the time of its entry.
        Load = "load",
        /// A mount.
        Mount = "mount",
        /// A disk that the SAN policy keeps offline.
        Offline = "offline",
        /// A PCI function, and whether a filter hid it.
        Pci = "pci",
        /// A system power state that every device was set to.
        Power = "power",
        /// Number of running processors.
        Processors = "processors",
        /// An answer of the channel to programs.
        Reader = "reader",
        /// A disk's queue depth that the miniport set.
        QueueDepth = "queue-depth",
        /// Memory of the drivers' and grants while nothing is asked of the disks.
        Quiet = "quiet",
        /// The executive waits for dom0.
        Ready = "ready",
        /// The record that the boot left in the registry.
        Record = "record",
        /// A line of a registration file.
        Reg = "reg",
        /// A device that was removed.
        Removed = "removed",
        /// Number of requests of each kind.
        Requests = "requests",
        /// A reset that Storport asked the miniport for, and whether it was done.
        Reset = "reset",
        /// A disk's capacity after it changed.
        Resized = "resized",
        /// Waits of drivers' threads while nothing is asked of the system.
        Rest = "rest",
        /// The guest goes on after a suspend.
        Resumed = "resumed",
        /// The system is back from S3.
        Slept = "slept",
        /// The guard's status in the registry.
        Status = "status",
        /// Counts of an exercise's requests.
        Traffic = "traffic",
        /// The system is up.
        Up = "up",
        /// A special file came to the adapter and went again.
        Usage = "usage",
        /// Counts of a verified load, and a checksum of what it has written.
        Used = "used",
        /// A rule that a driver broke.
        Violation = "violation",
        /// The guard's counted work up to a moment.
        Work = "work",
        /// A file of the endurance run that is about to be written.
        Written = "written",
    }
}

impl Line {
    /// Returns true if a format string begins with the name of a kind, or with a placeholder for it.
    pub const fn begins(format: &str) -> bool {
        let format = format.as_bytes();
        if let [b'{', ..] = format {
            return true;
        }
        let mut kind = 0;
        while kind < Self::ALL.len() {
            if is_first_word(Self::ALL[kind].name().as_bytes(), format) {
                return true;
            }
            kind += 1;
        }
        false
    }
}

const fn is_first_word(word: &[u8], text: &[u8]) -> bool {
    if text.len() < word.len() || (text.len() > word.len() && text[word.len()] != b' ') {
        return false;
    }
    let mut at = 0;
    while at < word.len() {
        if text[at] != word[at] {
            return false;
        }
        at += 1;
    }
    true
}

named! {
    /// A request of the executive to dom0, in a line `ready for=<what>`.
    Ready {
        /// To attach a disk.
        Attach = "attach",
        /// To save the guest, and to let it go on.
        Copy = "copy",
        /// To detach the disk.
        Detach = "detach",
        /// To take the medium out of the CD-ROM drive.
        Eject = "eject",
        /// To take the disk without asking.
        Force = "force",
        /// To look for the service's node, and to ask the guest to power off.
        Heartbeat = "heartbeat",
        /// To save and restore the guest, which has written its memory.
        Hibernated = "hibernated",
        /// To put a medium into the CD-ROM drive.
        Insert = "insert",
        /// To look at the files behind the disks, or at what Xen and xenstore have of the guest.
        Look = "look",
        /// To wait until the service's node is gone.
        NoHeartbeat = "no-heartbeat",
        /// To stop or restart a disk's backend.
        Outage = "outage",
        /// To ask the guest to power off or to reboot.
        Request = "request",
        /// To enlarge a disk.
        Resize = "resize",
        /// To raise an event for the guest, which goes to S3, and to wake it.
        Sleep = "sleep",
        /// To save and restore the guest.
        Suspend = "suspend",
        /// To ask the guest to power off while nobody follows.
        Unheard = "unheard",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_is_a_kind() {
        assert!(Line::begins("ready for={what}") && Line::begins("up us={}") && Line::begins("{}"));
        assert!(!Line::begins("upp") && !Line::begins("mounted disk=0") && !Line::begins(""));
        assert!(!Line::begins(" up") && !Line::begins("u"));
    }
}
