//! The service over a Windows that is a script.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use guard::channel::Events;

use super::*;

/// Step of a channel's life.
enum Step {
    /// The driver adds an event.
    Add(Kind, u32),
    /// Nothing happens until the heartbeat is due.
    Quiet,
    /// The device goes.
    Goes,
}

/// A driver with its channel.
struct Driver {
    events: Events,
    steps: VecDeque<Step>,
    knows_beats: bool,
    version: u32,
    /// Numbers that came with heartbeats.
    beats: Vec<u64>,
}

impl Driver {
    fn new(steps: Vec<Step>) -> Rc<RefCell<Driver>> {
        let version = CHANNEL_VERSION;
        let (events, beats) = (Events::new(), Vec::new());
        Rc::new(RefCell::new(Driver { events, steps: steps.into(), knows_beats: true, version, beats }))
    }
}

struct Open(Rc<RefCell<Driver>>);

impl Channel for Open {
    fn version(&mut self) -> io::Result<Version> {
        Ok(Version { channel: self.0.borrow().version, abi: 1 })
    }

    fn beat(&mut self, carried: u64) -> io::Result<Option<u64>> {
        let mut driver = self.0.borrow_mut();
        driver.beats.push(carried);
        Ok(driver.knows_beats.then(|| driver.events.next()))
    }

    fn next(&mut self, from: u64, limit: Duration) -> Next {
        assert_eq!(limit, BEAT);
        let mut driver = self.0.borrow_mut();
        loop {
            if let Some(event) = driver.events.from(from) {
                return Next::Event(Event::from_bytes(&event.to_bytes()));
            }
            match driver.steps.pop_front() {
                Some(Step::Add(kind, value)) => {
                    let time = driver.events.next() * 10;
                    driver.events.add(kind, value, time);
                }
                Some(Step::Quiet) => return Next::Nothing,
                Some(Step::Goes) => return Next::Gone("the device goes".to_owned()),
                None => return Next::Stop,
            }
        }
    }
}

/// An answer to a look for the channel.
enum Look {
    Nothing,
    Denied,
    Driver(Rc<RefCell<Driver>>),
}

/// A Windows.
struct Fake {
    looks: VecDeque<Look>,
    /// Shutdowns that were begun: reboots or not.
    begun: Vec<bool>,
    refuses: bool,
    marks: Vec<&'static str>,
    told: Vec<String>,
    waits: Vec<u64>,
}

impl Fake {
    fn of(looks: Vec<Look>) -> Fake {
        let (begun, told, waits) = (Vec::new(), Vec::new(), Vec::new());
        Fake { looks: looks.into(), begun, refuses: false, marks: Vec::new(), told, waits }
    }

    /// Runs the service, and returns the numbers of what it told, without its start and its end.
    fn run(&mut self) -> Vec<u32> {
        run(self);
        let numbers: Vec<u32> =
            self.told.iter().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!((numbers[0], numbers[numbers.len() - 1]), (1, 2), "{:?}", self.told);
        numbers[1..numbers.len() - 1].to_vec()
    }

    fn has_told(&self, line: &str) -> bool {
        self.told.iter().any(|told| told == line)
    }
}

impl World for Fake {
    type Channel = Open;

    fn open(&mut self) -> io::Result<Option<Open>> {
        match self.looks.pop_front() {
            Some(Look::Driver(driver)) => Ok(Some(Open(driver))),
            Some(Look::Denied) => Err(io::ErrorKind::PermissionDenied.into()),
            _ => Ok(None),
        }
    }

    fn wait(&mut self, time: Duration) -> bool {
        self.waits.push(time.as_secs());
        self.looks.is_empty()
    }

    fn shut_down(&mut self, reboot: bool) -> io::Result<()> {
        if self.refuses {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.begun.push(reboot);
        Ok(())
    }

    fn mend(&mut self) -> Result<Vec<String>, String> {
        Ok(std::mem::take(&mut self.marks).into_iter().map(str::to_owned).collect())
    }

    fn tell(&mut self, message: Message, detail: &str) {
        self.told.push(format!("{} {detail}", message as u32));
    }
}

#[test]
fn requests_are_carried_out_and_acknowledged() {
    for (kind, reboot) in [(Kind::PowerOff, false), (Kind::Reboot, true)] {
        let driver = Driver::new(vec![Step::Quiet, Step::Add(kind, 0), Step::Quiet]);
        driver.borrow_mut().events.add(Kind::Status, 4 << 16 | 1, 1);
        let mut windows = Fake::of(vec![Look::Driver(Rc::clone(&driver))]);
        assert_eq!(windows.run(), [3, 7, 11]);
        assert!(windows.told[2].starts_with("7 exposed, "), "{:?}", windows.told);
        assert_eq!(windows.begun, [reboot]);
        // At first, when nothing came, at once when it was carried out, and when nothing came again.
        assert_eq!(driver.borrow().beats, [0, 0, 2, 2]);
    }
}

/// An old request would end a guest that somebody has kept up.
#[test]
fn a_request_from_before_the_first_heartbeat_is_not_carried_out() {
    let driver = Driver::new(vec![Step::Quiet]);
    driver.borrow_mut().events.add(Kind::PowerOff, 0, 1);
    let mut windows = Fake::of(vec![Look::Driver(Rc::clone(&driver))]);
    assert_eq!(windows.run(), [3, 12]);
    assert_eq!((windows.begun.len(), driver.borrow().beats.clone()), (0, vec![0, 0]));
}

#[test]
fn a_shutdown_that_windows_refuses_is_not_acknowledged() {
    let driver = Driver::new(vec![Step::Add(Kind::PowerOff, 0), Step::Quiet]);
    let mut windows = Fake::of(vec![Look::Driver(Rc::clone(&driver))]);
    windows.refuses = true;
    assert_eq!(windows.run(), [3, 11, 13]);
    assert_eq!(driver.borrow().beats, [0, 0]);
}

#[test]
fn a_driver_without_heartbeats_gets_one_and_presses_the_button() {
    let driver = Driver::new(vec![Step::Quiet, Step::Add(Kind::Reboot, 0), Step::Quiet]);
    driver.borrow_mut().knows_beats = false;
    let mut windows = Fake::of(vec![Look::Driver(Rc::clone(&driver))]);
    assert_eq!(windows.run(), [3, 12]);
    assert_eq!((windows.begun.len(), driver.borrow().beats.clone()), (0, vec![0]));
}

#[test]
fn a_channel_that_is_absent_is_waited_for_and_told_once() {
    let driver = Driver::new(vec![]);
    let looks = (0..8).map(|_| Look::Nothing).chain([Look::Driver(driver)]).collect();
    let mut windows = Fake::of(looks);
    assert_eq!(windows.run(), [4, 3]);
    assert_eq!(windows.waits, [1, 2, 4, 8, 16, 32, 32, 32]);
}

#[test]
fn a_channel_that_goes_is_opened_anew_and_read_on() {
    let steps = vec![Step::Add(Kind::Suspending, 0), Step::Goes, Step::Add(Kind::Resumed, 1), Step::Quiet];
    let driver = Driver::new(steps);
    let look = || Look::Driver(Rc::clone(&driver));
    let mut windows = Fake::of(vec![look(), Look::Nothing, Look::Denied, Look::Denied, look()]);
    assert_eq!(windows.run(), [3, 8, 5, 6, 3, 9]);
    assert!(windows.has_told("9 in a new domain"), "{:?}", windows.told);
    // The first look after it was of use is soon.
    assert_eq!(windows.waits[..2], [1, 2]);
}

/// One that goes each time at once is not looked for every second.
#[test]
fn a_channel_of_no_use_is_opened_ever_later() {
    let looks = (0..7).map(|_| Look::Driver(Driver::new(vec![Step::Goes]))).collect();
    let mut windows = Fake::of(looks);
    windows.run();
    assert_eq!(windows.waits, [1, 1, 1, 1, 2, 4, 8]);
}

#[test]
fn a_channel_of_another_version_is_left_alone() {
    let drivers: Vec<_> = (0..2).map(|_| Driver::new(vec![])).collect();
    for driver in &drivers {
        driver.borrow_mut().version = CHANNEL_VERSION + 1;
    }
    let mut windows = Fake::of(drivers.iter().map(|driver| Look::Driver(Rc::clone(driver))).collect());
    assert_eq!(windows.run(), [6]);
    assert!(drivers.iter().all(|driver| driver.borrow().beats.is_empty()));
}

#[test]
fn what_is_lost_and_what_is_unknown_is_told() {
    let driver = Driver::new(vec![]);
    for _ in 0..70 {
        driver.borrow_mut().events.add(Kind::Suspending, 0, 5);
    }
    let mut windows = Fake::of(vec![Look::Driver(driver)]);
    assert_eq!(windows.run()[..3], [3, 10, 8]);
    assert!(windows.has_told("10 6"), "{:?}", windows.told);

    let mut windows = Fake::of(vec![]);
    assert!(!happened(&mut windows, Event { sequence: 1, lost: 0, time: 0, kind: 77, value: 5 }, true));
    assert_eq!(windows.told, ["16 77, value 0x5"]);
}

/// At the start and at the stop.
#[test]
fn marks_are_taken_away_and_told() {
    let mut windows = Fake::of(vec![]);
    windows.marks = vec!["atapi", "xenvbd"];
    assert_eq!(windows.run(), [14, 4]);
    assert!(windows.has_told("14 atapi, xenvbd"), "{:?}", windows.told);
}
