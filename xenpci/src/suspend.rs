//! Suspend, resume and migration, and the thread that serves the toolstack's requests.
//!
//! The toolstack asks by writing to `control/shutdown` ([`control`](crate::control)). A thread of this driver
//! watches the node, since the work needs xenstore and waits for clients. For `suspend`:
//!
//! 1. the client is told; it waits for its requests to come back, for half a minute at most, and then leaves its grants
//!    and ports alone, or refuses where a write has not come back;
//! 2. the node is emptied, which tells the toolstack that the guest goes along, if the request is still in it;
//! 3. xenstore is held, every other processor is held, and the guest is suspended. Where that returns the
//!    guest is elsewhere, with its memory as it was. Shared info and the grant table are put behind the window
//!    before any processor goes on, since interrupts may come at once; then ports and watches are rebuilt;
//! 4. the guard is told, since the machine has its emulated disks again; then the client, which connects
//!    anew.
//!
//! Where the toolstack gives up after step 3 (a save that fails) or wanted a copy only (`xl save -c`), the
//! call says that the suspend was cancelled: the guest is where it was, with everything that Xen keeps for
//! it, and the client goes on as it is.
//!
//! A client that cannot let go keeps the guest from being suspended: the node is left as it is, and the
//! toolstack gives up. A platform that cannot be rebuilt stops the system: its disks would never answer
//! again.
//!
//! # Hibernation
//! When the system is set to S4, the client lets its requests wait and xenstore is left alone, before the
//! request goes on: from then on a copy of the drivers writes memory to the disk. It sees by the mask of
//! xenstore's port that it may; where the client does not let go the port stays unmasked, and the copy
//! refuses. Every other port is masked, too, and no interrupt is taken for Xen's until then. What memory comes
//! back to is a new domain, which has to be set up like one that was resumed; or, where writing failed or the
//! machine only slept, the old one, in which the copy has used xenstore and taken the vbd. Both begin when the
//! device is in D0 again. In the old one NT unloads the copy: what that has granted is ended here, once the client has
//! ended the copy's sessions. Where a backend does not let go of it, the system stops: the backend's next answer would be
//! written into a page that is something else by then.
#![expect(unsafe_code, reason = "is called by address, by the watch of its node")]

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use wdm::Shared;

use guard::Action;
use guard::abi::Signals;
use guard::channel::{Handover, Kind, Step};
use guard::machine::BUGCHECK_CODE;
use wdm::event::{self, Event};
use wdm::power::Kept;
use wdm::spin_lock::SpinLock;
use wdm::thread::Thread;
use wdm::{Device, bugcheck, debug_print, pool, time};
use xen::sched::Resumed;
use xenpci_interface::{RESUMED, REVIVED, SUSPENDING, Watch};

use crate::button::Button;
use crate::channel::Channel;
use crate::control::{self, Ending, Features, NODE, Request};
use crate::platform::{Failure, Platform, SuspendError};
use crate::state::Published;
use crate::{DRIVER, Extension, last_word, proof};

/// INACCESSIBLE_BOOT_DEVICE: the bugcheck that Windows would raise here anyway.
const INACCESSIBLE_BOOT_DEVICE: u32 = 0x7B;

/// Signals from the watch's callback and from power requests.
struct Signal {
    asked: Event,
    stopping: AtomicBool,
    /// The request that sets the system to S4.
    falling_asleep: SpinLock<Option<Kept<Extension>>>,
    /// The device is in D0 again.
    awake: Event,
    /// The node is watched.
    watched: AtomicBool,
    /// The way in which the guest is to end.
    ending: Ending,
    /// The host is to be told that the guest ends in order.
    ends: AtomicBool,
    /// It was told, or could not be.
    told: Event,
}

/// A receiver that wakes the thread when the guard's status has changed.
struct Changed(Shared<Signal>);

impl guard_client::Receiver for Changed {
    fn signalled(&self, signals: Signals) {
        if signals.contains(Signals::CHANGED) {
            self.0.asked.set();
        }
    }
}

/// The thread that waits for the toolstack. Dropping it ends it (PASSIVE_LEVEL).
pub(crate) struct Suspend {
    platform: Shared<Platform>,
    signal: Shared<Signal>,
    watch: Option<Watch>,
    changes: Option<guard_client::Subscription<Changed>>,
    thread: Option<Thread>,
}

impl Suspend {
    /// Watches the node from now on, for the platform's function device, which outlives the value.
    /// PASSIVE_LEVEL.
    ///
    /// # Errors
    /// No memory or no thread. A watch that cannot be set is said, and leaves the guest as one that cannot be
    /// suspended.
    pub(crate) fn start(platform: &Shared<Platform>, device: Device<Extension>) -> wdm::Result<Self> {
        let signal = Shared::new(Signal {
            asked: Event::new(event::Kind::Synchronization)?,
            stopping: AtomicBool::new(false),
            falling_asleep: SpinLock::new(None),
            awake: Event::new(event::Kind::Notification)?,
            watched: AtomicBool::new(false),
            ending: Ending::new(),
            ends: AtomicBool::new(false),
            told: Event::new(event::Kind::Notification)?,
        })?;
        let (at, signals) = (Shared::clone(platform), Shared::clone(&signal));
        let thread = Thread::spawn(move || {
            if let Extension::Fdo(fdo) = device.extension() {
                serve(&at, &signals, fdo.button(), fdo.channel());
            }
        })?;
        let context = Shared::as_ptr(&signal).cast_mut().cast();
        // SAFETY: the signal lives until the watch has ended, in `drop`.
        let watch = unsafe { platform.store().watch(NODE, changed, context) };
        match watch {
            Ok(_) => {
                signal.watched.store(true, Ordering::Release);
                // What is served is told, whether or not the watch's first event came before this.
                signal.asked.set();
            }
            Err(_) => {
                debug_print!(DRIVER, "{NODE} cannot be watched: the toolstack's requests are not heard")
            }
        }
        let changes = pool::try_box(Changed(Shared::clone(&signal)))
            .ok()
            .and_then(|changed| guard_client::Subscription::new(changed).ok());
        if changes.is_none() {
            debug_print!(DRIVER, "the guard has no room for another watcher: the host hears of changes late");
        }
        Ok(Self {
            platform: Shared::clone(platform),
            signal,
            watch: watch.ok(),
            changes,
            thread: Some(thread),
        })
    }

    /// Takes the request that sets the system to S4. It goes on when nothing of Xen's is used any more.
    /// ≤ DISPATCH_LEVEL.
    pub(crate) fn fall_asleep(&self, request: Kept<Extension>) {
        self.signal.awake.clear();
        *self.signal.falling_asleep.lock() = Some(request);
        self.signal.asked.set();
    }

    /// Notes that the device is in D0 again. ≤ DISPATCH_LEVEL.
    pub(crate) fn wake(&self) {
        self.signal.awake.set();
    }

    /// Notes that the system is about to be powered off: where a reboot was asked for, Xen is to tell the
    /// toolstack so. ≤ DISPATCH_LEVEL.
    pub(crate) fn power_off(&self) {
        if self.signal.ending.is_reboot() {
            match self.platform.end_as_reboot() {
                Ok(()) => debug_print!(DRIVER, "powering off, and Xen is told that it is a reboot"),
                Err(error) => {
                    debug_print!(DRIVER, "powering off, and Xen refuses to hear that it is a reboot: {error}")
                }
            }
        }
    }

    /// Returns what tells the host of the end.
    pub(crate) fn farewell(&self) -> Farewell {
        Farewell(Shared::clone(&self.signal))
    }

    /// Has the thread look again at what is asked and what is served. ≤ DISPATCH_LEVEL.
    pub(crate) fn look(&self) {
        self.signal.asked.set();
    }
}

/// Tells the host that the guest ends in order.
pub(crate) struct Farewell(Shared<Signal>);

impl Farewell {
    /// Tells it, and waits for that as long as a shutdown may wait for a word: a store that is slow is not
    /// waited for. PASSIVE_LEVEL, at the last chance of a shutdown.
    pub(crate) fn say(&self) {
        const PATIENCE: Duration = Duration::from_secs(2);
        self.0.ends.store(true, Ordering::Release);
        self.0.asked.set();
        self.0.told.wait_timeout(PATIENCE);
    }
}

impl Drop for Suspend {
    fn drop(&mut self) {
        drop(self.changes.take());
        if let Some(watch) = self.watch.take() {
            // Whatever it answers, the callback does not run any more.
            let _ = self.platform.store().unwatch(watch);
        }
        self.signal.stopping.store(true, Ordering::Release);
        self.signal.asked.set();
        self.signal.awake.set();
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

/// Notes that the node has changed. PASSIVE_LEVEL, on the watch thread.
unsafe extern "system" fn changed(context: *mut c_void, _path: *const u8, _length: usize) {
    // SAFETY: the signal of `Suspend::start`, which outlives the watch.
    unsafe { &*context.cast::<Signal>() }.asked.set();
}

/// Runs the thread.
fn serve(platform: &Platform, signal: &Signal, button: &Button, channel: &Channel) {
    let (mut features, mut published) = (Features::default(), Published::default());
    let (mut said, mut before) = (None, None);
    let (mut handover, mut deadline) = (Handover::default(), 0);
    loop {
        if handover.waits() {
            // Nobody may have anything to say until the time is over.
            signal.asked.wait_timeout(time_until(deadline));
        } else {
            signal.asked.wait();
        }
        // Out of the lock first.
        let falling_asleep = signal.falling_asleep.lock().take();
        if let Some(request) = falling_asleep {
            hibernate(platform, &signal.awake, request);
            features.forget();
            published.forget();
        }
        if signal.stopping.load(Ordering::Acquire) {
            features.tell(platform, false, false);
            platform.store().request(|store| published.withdraw(store));
            return;
        }
        if let Some(status) = guard_client::status() {
            if said.replace(status) != Some(status) {
                channel.add(Kind::Status, status.phase.0 << 16 | status.reason & 0xFFFF);
            }
            platform.store().request(|store| published.tell(store, status, true));
            if signal.ends.swap(false, Ordering::AcqRel) {
                // The guest ends, heard or not.
                let _ = platform.store().request(|store| last_word::at_shutdown(store, status));
                signal.told.set();
            }
        }
        let follower = channel.follower();
        platform.store().request(|store| published.tell_of_service(store, follower.last_beat()));
        features.tell(platform, signal.watched.load(Ordering::Acquire), button.is_watched());
        let asked = Request::read(platform);
        let news = asked.filter(|_| asked != before);
        before = asked;
        match asked {
            Some(Request::Suspend) => {
                let epoch = platform.epoch();
                channel.add(Kind::Suspending, 0);
                suspend(platform);
                let anew = platform.epoch() != epoch;
                channel.add(Kind::Resumed, anew.into());
                if anew {
                    features.forget();
                    published.forget();
                    // Once more, for what is to be told of the new domain.
                    signal.asked.set();
                }
            }
            Some(request @ (Request::PowerOff | Request::Reboot)) => {
                let reboot = request == Request::Reboot;
                if news.is_some() {
                    handover = Handover::default();
                }
                let step = handover.step(&follower, time_until(deadline).is_zero());
                // A request that stays, since nobody follows it, is one event, and one more for a program that comes.
                let event = (news.is_some() || step == Step::Give)
                    .then(|| channel.add(if reboot { Kind::Reboot } else { Kind::PowerOff }, 0));
                match (step, event) {
                    (Step::Give, Some(event)) => {
                        handover.give(event);
                        deadline = deadline_after(CARRYING);
                    }
                    (Step::Acknowledge, _) => features.followed(platform, &signal.ending, reboot),
                    (Step::Press, _) => features.press(platform, button, &signal.ending, reboot),
                    (Step::Wait | Step::Give, _) => {}
                }
            }
            None => {
                handover = Handover::default();
                continue;
            }
        }
        features.tell(platform, signal.watched.load(Ordering::Acquire), button.is_watched());
    }
}

/// Time that the service has for a request before the power button is pressed.
const CARRYING: Duration = Duration::from_secs(5);

/// Returns the performance counter's value after a time. Any IRQL.
fn deadline_after(time: Duration) -> u64 {
    let (now, frequency) = time::performance_counter();
    now + frequency * time.as_secs()
}

/// Returns the time until the performance counter has this value. Any IRQL.
fn time_until(deadline: u64) -> Duration {
    let (now, frequency) = time::performance_counter();
    let left = deadline.saturating_sub(now);
    Duration::from_millis(left.saturating_mul(1000).div_ceil(frequency.max(1)))
}

/// Carries out one suspend.
fn suspend(platform: &Platform) {
    let client = platform.clients().lock();
    let ready = client.is_none_or(|client| client.call(SUSPENDING));
    if ready {
        match control::acknowledge_suspend(platform) {
            Ok(true) => carry_out(platform),
            Ok(false) => debug_print!(DRIVER, "not suspended: the toolstack has taken its request back"),
            Err(error) => debug_print!(DRIVER, "not suspended: {NODE} cannot be written: {error}"),
        }
    } else {
        debug_print!(DRIVER, "not suspended: a disk does not let go of its requests");
    }
    if let Some(client) = *client {
        client.call(RESUMED);
    }
}

fn carry_out(platform: &Platform) {
    let before = platform.epoch();
    match platform.suspend() {
        Ok(Resumed::Cancelled) => debug_print!(DRIVER, "the suspend was cancelled"),
        Ok(Resumed::Anew) => resumed(platform),
        Err(SuspendError::Refused(error)) => debug_print!(DRIVER, "not suspended: {error}"),
        Err(SuspendError::Lost(failure)) => lost(before, &failure),
    }
}

/// Carries out one hibernation, from the request for S4 to the device's for D0.
fn hibernate(platform: &Platform, awake: &Event, request: Kept<Extension>) {
    let before = platform.epoch();
    let client = platform.clients().lock();
    let ready = client.is_none_or(|client| client.call(SUSPENDING));
    let held = ready.then(|| platform.sleep());
    if !ready {
        debug_print!(
            DRIVER,
            "the hibernation file cannot be written: a disk does not let go of its requests"
        );
    }
    request.answer_system();
    awake.wait();
    let phase = match held.map(|held| platform.wake(held)) {
        None => RESUMED,
        Some(Ok(Resumed::Cancelled)) => {
            debug_print!(DRIVER, "awake in the domain that fell asleep");
            REVIVED
        }
        Some(Ok(Resumed::Anew)) => {
            resumed(platform);
            RESUMED
        }
        Some(Err(failure)) => lost(before, &failure),
    };
    if let Some(client) = *client {
        client.call(phase);
    }
    if phase == REVIVED
        && let Err(kept) = platform.end_grants_of_the_copy()
    {
        debug_print!(
            DRIVER,
            "the drivers' copy is not let go of, and NT uses its pages again, the system stops: {kept}"
        );
        bugcheck::stop(INACCESSIBLE_BOOT_DEVICE, [before as usize, 1, kept.mapped(), 0])
    }
}

/// Handles a resume in a new domain, which may have its emulated disks.
fn resumed(platform: &Platform) {
    let (grants, own) = (platform.grants().available(), platform.processors_with_own_vector());
    debug_print!(DRIVER, "resumed, {grants} grants, {own} processors' own vectors");
    if let Action::Stop(stop) = proof::resumed() {
        bugcheck::stop(BUGCHECK_CODE, stop.parameters(0))
    }
}

/// Stops the system: the platform cannot be built anew.
fn lost(epoch: u32, failure: &Failure) -> ! {
    debug_print!(DRIVER, "the platform cannot be set up again after a suspend, the system stops: {failure}");
    bugcheck::stop(INACCESSIBLE_BOOT_DEVICE, [epoch as usize, 0, 0, 0])
}
