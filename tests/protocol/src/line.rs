//! Report lines of the executive.

use crate::name::named;

named! {
    /// The kind of a report line, its first word after `@xg`.
    Line {
        /// The entry for one boot was taken out of the boot configuration data.
        Bcd = "bcd",
        /// The entry of the boot menu and its options.
        Boot = "boot",
        /// A bugcheck: code and parameters.
        Bugcheck = "bugcheck",
        /// A disk's capacity before it changes.
        Capacity = "capacity",
        /// One step of the CD-ROM exercise.
        Cd = "cd",
        /// A CD-ROM drive and the volume in it.
        Cdrom = "cdrom",
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
        /// A step of the crash dump, and what came of it.
        Dump = "dump",
        /// Bytes of secondary dump data.
        DumpData = "dumpdata",
        /// The last line: how the boot ended.
        End = "end",
        /// An entry of the event log.
        Event = "event",
        /// The file test on one volume.
        File = "file",
        /// Begin or end of what is written to the registry's hives.
        Flush = "flush",
        /// A disk that is gone, and what is left of it.
        Gone = "gone",
        /// The request that was made to fail.
        Injected = "injected",
        /// Interrupts taken by processor.
        Interrupts = "interrupts",
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
        /// How many processors run.
        Processors = "processors",
        /// The executive waits for dom0.
        Ready = "ready",
        /// A line of a registration file.
        Reg = "reg",
        /// A device that was removed.
        Removed = "removed",
        /// How many requests of each kind there were.
        Requests = "requests",
        /// A disk's capacity after it changed.
        Resized = "resized",
        /// The guest goes on after a suspend.
        Resumed = "resumed",
        /// The guard's status in the registry.
        Status = "status",
        /// Counts of an exercise's requests.
        Traffic = "traffic",
        /// The system is up.
        Up = "up",
        /// A special file came to the adapter and went again.
        Usage = "usage",
        /// A rule that a driver broke.
        Violation = "violation",
        /// The guard's counted work up to a moment.
        Work = "work",
    }
}

named! {
    /// What the executive asks of dom0, in a line `ready for=<what>`.
    Ready {
        /// To attach a disk.
        Attach = "attach",
        /// To save the guest, and to let it go on.
        Copy = "copy",
        /// To detach the disk.
        Detach = "detach",
        /// To take the medium out of the CD-ROM drive.
        Eject = "eject",
        /// To save and restore the guest, which has written its memory.
        Hibernated = "hibernated",
        /// To put a medium into the CD-ROM drive.
        Insert = "insert",
        /// To look at the files behind the disks.
        Look = "look",
        /// To stop or restart a disk's backend.
        Outage = "outage",
        /// To enlarge a disk.
        Resize = "resize",
        /// To save and restore the guest.
        Suspend = "suspend",
    }
}
