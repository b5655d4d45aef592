//! The steps of a boot. Each is atomic; any order that the steps' own conditions allow is explored.
//!
//! What is taken from NT, and not left to the adversary:
//! - a bus's AddDevice comes before its START, that before its children are reported, that before they start;
//! - whoever registered for arrivals is told of a disk before a volume of it can be mounted (`Told` before
//!   `Mount`);
//! - a driver of the suite that is there does what the guard orders.

use guard::Action;
use guard::census::Counts;
use guard::controllers::{Controller, Present};
use guard::decision::{self, Hypervisor, Inputs, PvDisks, Service};
use guard::devnode::Device;
use guard::machine::{Event, Phase, Unplug};
use guard::options::BootOptions;
use guard::policy::{Emulated, HidePolicy};
use guard::sharing::Sharing;

use crate::setup::{Moment, Second, Setup};
use crate::world::{Adapter, Kind, Path, PvDisk, World};

/// One step. A number names the emulated way: 0 through the filtered root bus, 1 past it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The machine is switched on, or reset.
    Boot,
    /// The loader starts an entry; DriverEntry of idefilter decides.
    Decide {
        /// The entry asks for PV.
        pv: bool,
    },
    /// AddDevice for the root bus.
    Attach {
        /// The event that is lost on its way to the guard.
        lost: Option<Lost>,
    },
    /// The root bus reports its children.
    Enumerate {
        /// The guard does not hear of it.
        lost: bool,
    },
    /// The root bus reports its children once more.
    Requery,
    /// The controller comes back past the filter.
    Return,
    /// A controller is started.
    StartController(usize),
    /// A controller reports its channel.
    EnumerateController(usize),
    /// A channel is started.
    StartChannel(usize),
    /// A channel reports its disk, if it has one.
    EnumerateChannel(usize),
    /// A disk is started.
    StartDisk(usize),
    /// Waiters for disks are told of an emulated one.
    Told(usize),
    /// A volume of an emulated disk is mounted.
    Mount(usize),
    /// A disk that had not answered yet answers, xenvbd's read first.
    Answer(usize),
    /// xenpci asks whether to give out its services.
    Ask,
    /// The adapter's device is started, before or after the services are given out.
    StartAdapter,
    /// xenvbd counts the disks before it shows its own.
    Count,
    /// xenvbd tells the guard what it counted.
    Report,
    /// xenvbd says that it is about to show its disks, and does.
    Show,
    /// Waiters for disks are told of the PV disk.
    PvTold,
    /// A volume of the PV disk is mounted.
    PvMount,
    /// AddDevice for the second root bus.
    AttachSecond,
    /// The second root bus reports its children: no controller among them, unless it has no filter.
    EnumerateSecond,
    /// Another disk is attached in dom0, and xenvbd reports it.
    Plug,
    /// Waiters for disks are told of it.
    PluggedTold,
    /// A volume of it is mounted.
    PluggedMount,
    /// Its backend is restarted over the disk's backing.
    Restart,
    /// xenvbd's last census.
    Settle,
    /// The machine suspends, and comes back with what was unplugged.
    Resume,
    /// The drivers are told that it came back.
    ToldOfResume,
    /// The next event of a kind will be held up on its way.
    Hold(Kind),
    /// One that was arrives.
    Deliver(usize),
    /// xenvbd's thread takes the census that the guard asked for.
    TakeCensus,
    /// idefilter runs the unplug that the guard ordered after a resume.
    UnplugAnew,
    /// The session manager opens the hives.
    OpenHives,
    /// The system has stayed up.
    ComeUp,
}

/// An event of the bus filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lost {
    /// The event that says that the filter is attached.
    BusAttached,
    /// The event with the number of controllers.
    Counted,
}

impl Step {
    /// Returns true if the step is the adversary's choice, so that a boot in which only such steps are left
    /// has come to rest.
    pub fn is_optional(self) -> bool {
        matches!(
            self,
            Step::Boot
                | Step::Requery
                | Step::Return
                | Step::Resume
                | Step::Plug
                | Step::Restart
                | Step::Hold(_)
                | Step::Answer(_)
        )
    }
}

/// Returns true if the disk of a way has to be read to be told, and has not answered yet.
fn is_silent(setup: &Setup, world: &World, way: usize) -> bool {
    setup.faults.silent && !known(setup)[way] && !world.read[way]
}

/// Returns the ways whose controllers are known by their ids.
fn known(setup: &Setup) -> [bool; 2] {
    [true, !setup.faults.stranger]
}

/// Adds the steps that are possible to `steps`.
pub(crate) fn possible(setup: &Setup, world: &World, steps: &mut Vec<Step>) {
    if world.boots == 0 || (world.decided && world.boots < setup.boots) {
        steps.push(Step::Boot);
    }
    if world.boots == 0 || world.stopped {
        return;
    }
    if !world.decided {
        return steps.extend([Step::Decide { pv: false }, Step::Decide { pv: true }]);
    }
    if world.delays_left > 0 && world.hold.is_none() {
        steps.extend(Kind::ALL.map(Step::Hold));
    }
    steps.extend((0..world.late.len()).map(Step::Deliver));
    if !world.attached {
        steps.push(Step::Attach { lost: None });
        if world.losses_left > 0 {
            steps.extend([Lost::BusAttached, Lost::Counted].map(|lost| Step::Attach { lost: Some(lost) }));
        }
        return;
    }
    if !world.enumerated {
        steps.push(Step::Enumerate { lost: false });
        if world.losses_left > 0 {
            steps.push(Step::Enumerate { lost: true });
        }
        return;
    }
    steps.push(Step::Requery);
    // Two running instances of one controller are beyond what hardware does.
    if setup.faults.returns && world.paths[1] == Path::Absent && world.paths[0] <= Path::Refused {
        steps.push(Step::Return);
    }
    for (n, path) in world.paths.iter().enumerate() {
        match path {
            Path::Reported if world.paths[1 - n] <= Path::Refused => steps.push(Step::StartController(n)),
            Path::Started => steps.push(Step::EnumerateController(n)),
            Path::ChannelReported => steps.push(Step::StartChannel(n)),
            Path::ChannelStarted => steps.push(Step::EnumerateChannel(n)),
            Path::DiskHidden if world.disk_emulated => steps.push(Step::EnumerateChannel(n)),
            Path::DiskReported => steps.push(Step::StartDisk(n)),
            Path::Arrived => steps.push(Step::Told(n)),
            // Its volume is found by reading it: after the census's read, which came first.
            Path::Ready if is_silent(setup, world, n) => steps.push(Step::Answer(n)),
            Path::Ready => steps.push(Step::Mount(n)),
            _ => {}
        }
    }
    if world.may_ask && !world.services {
        steps.push(Step::Ask);
    }
    // It is reported when xenpci's bus is first asked, which is after xenpci has asked the guard.
    if !world.started && world.asked {
        steps.push(Step::StartAdapter);
    }
    match world.adapter {
        Adapter::Open => steps.push(Step::Count),
        Adapter::Counted(_) => steps.push(Step::Report),
        Adapter::Clear => steps.push(Step::Show),
        Adapter::Absent | Adapter::Shown | Adapter::Withheld => {}
    }
    match world.pv {
        PvDisk::Arrived => steps.push(Step::PvTold),
        PvDisk::Ready => steps.push(Step::PvMount),
        PvDisk::Absent | PvDisk::Mounted => {}
    }
    let unfiltered = setup.faults.unfiltered_root;
    if setup.large || unfiltered.is_some() {
        let too_late = unfiltered == Some(Moment::InTime) && world.adapter == Adapter::Shown;
        match world.second_root {
            [false, _] if too_late => {}
            [false, _] => steps.push(Step::AttachSecond),
            [true, false] => steps.push(Step::EnumerateSecond),
            [true, true] => {}
        }
    }
    let second = setup.faults.second;
    match world.plugged {
        PvDisk::Absent
            if world.adapter == Adapter::Shown
                && !world.refused
                && !setup.faults.second_from_start()
                && (second.is_some() || setup.large) =>
        {
            steps.push(Step::Plug);
        }
        PvDisk::Arrived => steps.push(Step::PluggedTold),
        PvDisk::Ready if second.is_some() => steps.push(Step::PluggedMount),
        _ => {}
    }
    if second == Some(Second::Restarted) && world.plugged >= PvDisk::Arrived && !world.restarted {
        steps.push(Step::Restart);
    }
    if world.pv >= PvDisk::Ready && !world.settled {
        steps.push(Step::Settle);
    }
    if world.resumes_left > 0 {
        steps.push(Step::Resume);
    }
    if world.resume_pending {
        steps.push(Step::ToldOfResume);
    }
    if world.census_due {
        steps.push(Step::TakeCensus);
    }
    if world.unplug_due {
        steps.push(Step::UnplugAnew);
    }
    if !world.hives_open && world.mounts(&setup.faults) > 0 {
        steps.push(Step::OpenHives);
    }
    if world.hives_open && !world.up {
        steps.push(Step::ComeUp);
    }
}

/// Returns the world after a step, and what the guard answered on the way.
pub(crate) fn take(setup: &Setup, world: &World, step: Step) -> (World, Vec<(Event, Action)>) {
    let mut next = Stepping { setup, world: world.clone(), talk: Vec::new() };
    next.take(step);
    (next.world, next.talk)
}

struct Stepping<'a> {
    setup: &'a Setup,
    world: World,
    talk: Vec<(Event, Action)>,
}

impl Stepping<'_> {
    fn take(&mut self, step: Step) {
        let world = &mut self.world;
        match step {
            Step::Boot => *world = world.boot(&self.setup.faults),
            Step::Decide { pv } => self.decide(pv),
            Step::Attach { lost } => self.attach(lost),
            Step::Enumerate { lost } => {
                world.enumerated = true;
                world.losses_left -= u8::from(lost);
                self.enumerate(lost);
            }
            Step::Requery => self.enumerate(false),
            Step::Return => world.paths[1] = Path::Reported,
            Step::StartController(n) => {
                self.start(n, 0, Emulated::Controller(Controller::Ide), Path::Started, Path::Refused)
            }
            Step::EnumerateController(n) => {
                self.report_children(n, 0, 1, 0, 0);
                self.world.paths[n] = Path::ChannelReported;
            }
            Step::StartChannel(n) => self.start(n, 1, Emulated::Channel, Path::ChannelStarted, Path::Refused),
            Step::EnumerateChannel(n) => self.enumerate_channel(n),
            Step::StartDisk(n) => self.start(n, 2, Emulated::Disk, Path::Arrived, Path::DiskRefused),
            Step::Told(n) => {
                world.paths[n] = Path::Ready;
                self.census_at_arrival();
            }
            Step::Mount(n) => world.paths[n] = Path::Mounted,
            Step::Answer(n) => {
                world.read[n] = true;
                self.census_at_arrival();
            }
            Step::Ask => self.ask(),
            Step::StartAdapter => {
                world.started = true;
                self.connect();
            }
            Step::Count => self.world.adapter = Adapter::Counted(self.counts()),
            Step::Report => self.report(),
            Step::Show => self.show(),
            Step::PvTold => {
                world.pv = PvDisk::Ready;
                self.census_at_arrival();
            }
            Step::PvMount => world.pv = PvDisk::Mounted,
            Step::AttachSecond => {
                world.second_root[0] = true;
                let filters = self.setup.layers.hide && self.filters();
                if filters && self.setup.faults.unfiltered_root.is_some() {
                    self.tell(Event::BusUnfiltered);
                } else if filters {
                    self.tell(Event::BusAttached { bus: 1 });
                    self.tell(Event::ControllersCounted(Present { with_cdrom: 1, disks_only: 0 }));
                }
            }
            Step::EnumerateSecond => {
                world.second_root[1] = true;
                if self.setup.faults.unfiltered_root.is_some() {
                    if world.paths[1] == Path::Absent {
                        world.paths[1] = Path::Reported;
                    }
                } else if self.setup.layers.hide && self.filters() {
                    self.tell(Event::Relations { bus: 1, seen: 0, hidden: 0 });
                }
            }
            Step::Plug => self.plug(),
            Step::PluggedMount => world.plugged = PvDisk::Mounted,
            Step::Restart => self.restart(),
            Step::PluggedTold => {
                world.plugged = PvDisk::Ready;
                self.census_at_arrival();
            }
            Step::Settle => {
                world.settled = true;
                let counts = self.counts();
                self.tell(Event::Census { counts, settled: true, strict: true });
            }
            Step::Resume => {
                world.resumes_left -= 1;
                world.disk_emulated = true;
                world.resume_pending = true;
            }
            Step::ToldOfResume => {
                world.resume_pending = false;
                self.tell(Event::Resumed);
            }
            Step::Hold(kind) => {
                world.delays_left -= 1;
                world.hold = Some(kind);
            }
            Step::Deliver(n) => {
                let event = world.late.remove(n);
                let _: Action = self.step_guard(event);
            }
            Step::TakeCensus => {
                world.census_due = false;
                self.census();
            }
            Step::UnplugAnew => {
                world.unplug_due = false;
                self.unplug();
            }
            Step::OpenHives => {
                world.hives_open = true;
                world.count_on_disk = world.count;
            }
            Step::ComeUp => {
                world.up = true;
                (world.count, world.count_on_disk) = (0, 0);
            }
        }
    }

    /// Tells the guard, unless the event is held up: its sender goes on as if it had heard
    /// [`Action::Nothing`].
    fn answer_to(&mut self, event: Event) -> Action {
        if self.world.hold.is_some() && self.world.hold == Kind::of(event) {
            self.world.hold = None;
            self.world.late.push(event);
            return Action::Nothing;
        }
        self.step_guard(event)
    }

    /// Gives an event to the guard where its sender has no part in the order that comes back: idefilter's own
    /// events, and signals.
    fn tell(&mut self, event: Event) {
        let _: Action = self.answer_to(event);
    }

    /// Has the guard take an event, and carries out what every driver carries out.
    fn step_guard(&mut self, event: Event) -> Action {
        let action = self.world.guard.step(event);
        self.talk.push((event, action));
        match action {
            Action::Stop(_) => self.world.stopped = true,
            Action::AskAgain => self.world.may_ask = true,
            // idefilter unplugs before it goes on with the bus; after a resume somebody else may run first.
            Action::Unplug if event == Event::Resumed => self.world.unplug_due = true,
            Action::Unplug => self.unplug(),
            Action::CensusNow => self.world.census_due = self.world.adapter != Adapter::Absent,
            _ => {}
        }
        action
    }

    /// Connects the second vbd by xenvbd, and shows it where nothing speaks against it.
    fn plug(&mut self) {
        self.world.refused = self.setup.layers.refuse && self.world.shares(&self.setup.faults, true);
        if !self.world.refused {
            self.world.plugged = PvDisk::Arrived;
        }
    }

    /// Connects the second vbd again by xenvbd, or takes its disk out.
    fn restart(&mut self) {
        self.world.restarted = true;
        if self.setup.layers.refuse && self.world.shares(&self.setup.faults, true) {
            self.world.refused = true;
            self.world.plugged = PvDisk::Absent;
        }
    }

    fn unplug(&mut self) {
        let unplug = if self.world.unplug {
            self.world.disk_emulated &= self.setup.faults.unplug_lies;
            Unplug::Acknowledged
        } else {
            Unplug::NotAsked
        };
        self.tell(Event::Unplugged(unplug));
    }

    fn decide(&mut self, pv: bool) {
        self.world.decided = true;
        if self.setup.faults.unsealed {
            return;
        }
        let second = self.setup.faults.second_from_start();
        let mut sharing = Sharing::default();
        if second && self.setup.layers.survey && self.world.shares(&self.setup.faults, false) {
            sharing.add([0, 1], self.setup.faults.second == Some(Second::Twin));
        }
        let disks = match sharing.objection() {
            Some(_) => PvDisks::Shared,
            None => PvDisks::Ready(1 + u32::from(second)),
        };
        let mut registry = Registry { pv, policy: self.world.policy, failed: self.world.count, disks };
        let decision = decision::decide(&mut registry);
        if decision.is_pv() {
            self.world.count = guard::boot_count::begun(self.world.count);
        }
        self.tell(Event::Decided(decision));
    }

    /// Returns true if idefilter attaches its filters in this boot.
    fn filters(&self) -> bool {
        !matches!(self.world.guard.phase(), Phase::Unsealed | Phase::Emulated(_) | Phase::Stopped(_))
    }

    fn attach(&mut self, lost: Option<Lost>) {
        self.world.attached = true;
        self.world.losses_left -= u8::from(lost.is_some());
        if !self.setup.layers.hide || !self.filters() {
            return;
        }
        if lost != Some(Lost::BusAttached) {
            self.tell(Event::BusAttached { bus: 0 });
        }
        if lost != Some(Lost::Counted) {
            self.tell(Event::ControllersCounted(Present { with_cdrom: 1, disks_only: 0 }));
        }
    }

    fn enumerate(&mut self, lost: bool) {
        let filtered = self.setup.layers.hide && self.filters();
        let seen = u32::from(filtered && self.world.policy.hides(Controller::Ide) && !self.setup.faults.leak);
        if self.world.paths[0] == Path::Absent {
            self.world.paths[0] = if seen > 0 { Path::Hidden } else { Path::Reported };
        }
        if filtered && !lost {
            self.tell(Event::Relations { bus: 0, seen, hidden: seen });
        }
    }

    /// Returns true if the filter of storage devices is on the devices of this way. It knows a controller by
    /// its ids.
    fn storage_filter(&self, way: usize) -> bool {
        self.has_storage_filter(way) && !self.setup.faults.unattached
    }

    /// Returns true if AddDevice of the filter is called for the devices of this way, and knows them.
    fn has_storage_filter(&self, way: usize) -> bool {
        self.setup.layers.deny && self.filters() && self.known()[way]
    }

    fn known(&self) -> [bool; 2] {
        known(self.setup)
    }

    /// Starts a device of a way, or has it refused and removed. `depth`: 0 controller, 1 channel, 2 disk.
    fn start(&mut self, way: usize, depth: u32, kind: Emulated, started: Path, refused: Path) {
        let device = 3 * way as u32 + depth;
        if self.has_storage_filter(way) && self.setup.faults.unattached {
            // NT starts the device without it.
            self.tell(Event::StorageUnfiltered);
        } else if self.storage_filter(way) {
            self.tell(Event::StorageAttached { device, kind });
            if matches!(self.answer_to(Event::StartRequested { device }), Action::Deny(_)) {
                self.world.paths[way] = refused;
                self.tell(Event::StorageDetached { device });
                return;
            }
        }
        self.world.paths[way] = started;
        if depth == 0 && self.setup.layers.tripwire && self.filters() {
            self.tell(Event::DriverLoaded);
        }
    }

    fn report_children(&mut self, way: usize, depth: u32, channels: u32, disks: u32, hidden: u32) {
        if self.storage_filter(way) {
            let device = 3 * way as u32 + depth;
            self.tell(Event::StorageRelations { device, channels, disks, hidden });
        }
    }

    fn enumerate_channel(&mut self, way: usize) {
        let disks = u32::from(self.world.disk_emulated);
        let hides = self.storage_filter(way) && self.world.policy == HidePolicy::Disks;
        let hidden = if hides { disks } else { 0 };
        self.world.paths[way] = if hidden == disks { Path::DiskHidden } else { Path::DiskReported };
        self.report_children(way, 1, 0, disks, hidden);
    }

    fn ask(&mut self) {
        (self.world.may_ask, self.world.asked) = (false, true);
        let answer = self.answer_to(Event::ExposureRequested);
        if answer == Action::Expose || !self.setup.layers.proof {
            self.world.services = true;
            self.connect();
        }
    }

    /// Connects xenvbd's vbds as soon as it is started and has xenpci's services, whichever comes last.
    fn connect(&mut self) {
        if self.world.started && self.world.services {
            self.world.adapter = Adapter::Open;
            // A vbd that is there already is connected before the first census.
            self.world.refused = self.setup.faults.second_from_start()
                && self.setup.layers.refuse
                && self.world.shares(&self.setup.faults, true);
        }
    }

    fn counts(&self) -> Counts {
        let read = if self.setup.faults.silent { self.world.read } else { [true; 2] };
        self.world.census(self.known(), read, &self.setup.faults)
    }

    fn report(&mut self) {
        let Adapter::Counted(counts) = self.world.adapter else { return };
        let answer = self.answer_to(Event::Census { counts, settled: false, strict: true });
        self.world.adapter =
            if matches!(answer, Action::Withhold(_)) { Adapter::Withheld } else { Adapter::Clear };
    }

    fn show(&mut self) {
        let answer = self.answer_to(Event::Exposed);
        if matches!(answer, Action::Withhold(_)) {
            self.world.adapter = Adapter::Withheld;
        } else if !self.world.stopped {
            self.world.adapter = Adapter::Shown;
            self.world.pv = PvDisk::Arrived;
            if self.setup.faults.second_from_start() && !self.world.refused {
                self.world.plugged = PvDisk::Arrived;
            }
        }
    }

    /// Tells xenvbd of a disk, if it is there and there is a layer 6.
    fn census_at_arrival(&mut self) {
        if self.setup.layers.census {
            self.census();
        }
    }

    /// Takes a census out of turn: an order to withhold holds from then on.
    fn census(&mut self) {
        if self.world.adapter == Adapter::Absent {
            return;
        }
        let counts = self.counts();
        let answer = self.answer_to(Event::Census { counts, settled: false, strict: true });
        if matches!(answer, Action::Withhold(_)) {
            self.world.adapter = Adapter::Withheld;
        }
    }
}

/// The inputs of the decision: everything speaks for PV but the entry and the count.
struct Registry {
    pv: bool,
    policy: HidePolicy,
    failed: u32,
    disks: PvDisks,
}

impl Inputs for Registry {
    fn options(&mut self) -> Option<BootOptions> {
        let text = if self.pv { " FASTDETECT GPLPV" } else { " FASTDETECT" };
        Some(BootOptions::parse(text.encode_utf16()))
    }
    fn safe_mode(&mut self) -> bool {
        false
    }
    fn hypervisor(&mut self) -> Hypervisor {
        Hypervisor::Xen
    }
    fn hide_policy(&mut self) -> Option<HidePolicy> {
        Some(self.policy)
    }
    fn xenpci(&mut self) -> Service {
        Service::Ready
    }
    fn xenvbd(&mut self) -> Service {
        Service::Ready
    }
    fn adapter(&mut self) -> Option<Device> {
        Some(Device::Ready)
    }
    fn other_suite(&mut self) -> Option<bool> {
        Some(false)
    }
    fn fast_startup(&mut self) -> Option<bool> {
        Some(false)
    }
    fn failed_boots(&mut self) -> Option<u32> {
        Some(self.failed)
    }
    fn platform_device(&mut self) -> Option<Device> {
        Some(Device::Ready)
    }
    fn unplug(&mut self) -> bool {
        true
    }
    fn pv_disks(&mut self) -> PvDisks {
        self.disks
    }
}
