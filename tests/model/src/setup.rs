//! The installed parts of the suite, and the faults that may happen.

/// The layers, as docs/architecture.md numbers them. `true`: it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    /// L3: the filter is on the PCI root bus.
    pub hide: bool,
    /// L4: the filter is on storage controllers, channels and disks.
    pub deny: bool,
    /// L5: xenpci asks the guard, and obeys.
    pub proof: bool,
    /// L6: xenvbd counts the disks at each arrival.
    pub census: bool,
    /// L7: idefilter is told of drivers that are loaded.
    pub tripwire: bool,
    /// L1 compares the backings of the vbds.
    pub survey: bool,
    /// xenvbd compares a vbd's backing with those of its disks before it shows it.
    pub refuse: bool,
}

impl Layers {
    /// Every layer.
    pub const ALL: Layers = Layers {
        hide: true,
        deny: true,
        proof: true,
        census: true,
        tripwire: true,
        survey: true,
        refuse: true,
    };
}

/// A second vbd, besides the disk's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    /// Over the disk's backing, from the start.
    FromStart,
    /// Over the disk's backing, from the start, and emulated beside it.
    Twin,
    /// Over the disk's backing, attached while the system runs.
    Attached,
    /// Over another backing, and then its backend is restarted over the disk's.
    Restarted,
    /// A clone of the disk, attached while the system runs.
    Clone,
}

/// The moment at which a second root bus is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the PV disk is shown.
    InTime,
    /// At any time.
    AnyTime,
}

/// Faults that happen besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The filter does not know the emulated controller when it sees it on the bus.
    pub leak: bool,
    /// The controller comes back on a bus that no filter is on, at any time.
    pub returns: bool,
    /// The controller that comes back is one that nobody knows by its ids.
    pub stranger: bool,
    /// A disk that is told by its content only answers reads late, or never.
    pub silent: bool,
    /// qemu takes the unplug request, and leaves the disk.
    pub unplug_lies: bool,
    /// The filter cannot be put on emulated storage devices: memory has run out.
    pub unattached: bool,
    /// The filter cannot be put on the second root bus, and the disk's controller is on that one, too.
    pub unfiltered_root: Option<Moment>,
    /// DriverEntry of idefilter does not run: the guard stays unsealed.
    pub unsealed: bool,
    /// Events from the bus filter that may be lost.
    pub losses: u8,
    /// Events that may be held up on their way to the guard, and arrive at any later time, in any order.
    pub delays: u8,
    /// Suspends, migrations, hibernations that may happen: the disk that was unplugged is back.
    pub resumes: u8,
    /// A second vbd.
    pub second: Option<Second>,
    /// The second vbd's nodes do not tell what its backing is: only its content does.
    pub untold: bool,
}

impl Faults {
    /// Returns true if there is a second vbd from the start.
    pub fn second_from_start(&self) -> bool {
        matches!(self.second, Some(Second::FromStart | Second::Twin))
    }
}

/// A configuration to explore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The layers that are there.
    pub layers: Layers,
    /// The faults.
    pub faults: Faults,
    /// There is a second root bus, and another disk may be attached while the system runs.
    pub large: bool,
    /// Boots in a row; the machine may be reset at any time between.
    pub boots: u8,
}
