use core::cell::RefCell;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::fake::{Blkback, Hal, Tree, World};
use crate::xenbus::State;

const VBD: &str = "device/vbd/768";
const PORT: Port = Port(9);
/// Pauses that a test allows.
const PATIENCE: usize = 200;

/// Returns a pause in which the backend works, so often.
fn pause(backend: &RefCell<Blkback>, mut left: usize) -> impl FnMut() -> bool {
    move || {
        let mut backend = backend.borrow_mut();
        backend.negotiate();
        backend.run();
        left = left.saturating_sub(1);
        left > 0
    }
}

fn connect(world: &World, backend: &RefCell<Blkback>) -> Result<Polled<Hal>, Failed> {
    let mut pause = pause(backend, PATIENCE);
    Polled::connect(world.hal(), &mut world.store(), VBD, |_| Ok(PORT), &mut pause)
}

fn found(store: &mut Tree, target: u8) -> Option<PathBuf> {
    find(store, &mut [0; NAMES], target).unwrap()
}

#[test]
fn what_is_written_is_on_the_disk_and_can_be_read_back() {
    let world = World::new();
    let backend = RefCell::new(Blkback::new(&world, VBD, 2048));
    let mut disk = connect(&world, &backend).unwrap();
    assert_eq!((disk.disk().sectors, disk.xenbus().vbd().device.0), (2048, 768));
    // More than the pool holds, and not whole pages.
    let data: Vec<u8> = (0..81 * 512).map(|n: usize| ((n * 7) >> 4) as u8).collect();
    let mut pause = pause(&backend, PATIENCE);
    disk.transfer(100, Data::Write(&data), &mut pause).unwrap();
    assert_eq!(backend.borrow_mut().sectors()[100 * 512..][..data.len()], data[..]);
    disk.flush(&mut pause).unwrap();
    assert_eq!(backend.borrow().flushes.len(), 1);
    let mut back = vec![0; data.len()];
    disk.transfer(100, Data::Read(&mut back), &mut pause).unwrap();
    assert!(back == data);
    disk.close(&mut world.store(), &mut pause).unwrap();
    assert_eq!(backend.borrow().state(), State::Closed);
    assert_eq!((world.leaked_grants(), world.log()), (0, vec![]));
}

#[test]
fn the_session_of_a_crashed_system_is_ended_first() {
    let world = World::new();
    let backend = RefCell::new(Blkback::new(&world, VBD, 2048));
    let crashed = backend.borrow_mut().connect_frontend(Config::SMALL, &[Port(3)]);
    let mut states = vec![];
    let mut disk = {
        let mut pause = pause(&backend, PATIENCE);
        let mut pause = || {
            states.push(backend.borrow().state());
            pause()
        };
        Polled::connect(world.hal(), &mut world.store(), VBD, |_| Ok(PORT), &mut pause).unwrap()
    };
    assert!(states.contains(&State::Closing) && states.contains(&State::Closed), "{states:?}");
    assert_eq!(backend.borrow().port(), PORT);
    disk.transfer(8, Data::Write(&[5; 512]), &mut pause(&backend, PATIENCE)).unwrap();
    assert_eq!(backend.borrow_mut().sectors()[8 * 512], 5);
    drop(crashed);
}

#[test]
fn a_backend_that_is_not_ready_for_a_new_ring_is_asked_again() {
    let world = World::new();
    let backend = RefCell::new(Blkback::new(&world, VBD, 2048));
    let mut refusals = 2;
    let mut pause = pause(&backend, PATIENCE);
    let mut pause = || {
        // As blkback does where a request of the former ring is still on its way to the disk.
        let offered = world.store().text("device/vbd/768/state").as_deref() == Some("3");
        if offered && refusals > 0 {
            refusals -= 1;
            backend.borrow_mut().set_state(State::Closing);
            return true;
        }
        pause()
    };
    let disk = Polled::connect(world.hal(), &mut world.store(), VBD, |_| Ok(PORT), &mut pause);
    disk.unwrap().close(&mut world.store(), &mut pause).unwrap();
    assert_eq!(refusals, 0);
    assert_eq!(world.leaked_grants(), 0);
}

#[test]
fn nothing_hangs() {
    let world = World::new();
    let backend = RefCell::new(Blkback::new(&world, VBD, 2048));
    let mut store = world.store();
    // A backend that does nothing.
    let mut left = 5;
    let mut none = || {
        left -= 1;
        left > 0
    };
    let silent = Polled::connect(world.hal(), &mut store, VBD, |_| Ok(PORT), &mut none);
    assert_eq!(silent.unwrap_err(), Failed::TimedOut("the backend's handshake"));
    // One that stops answering: the request fails, and so does every later one.
    let mut disk = connect(&world, &backend).unwrap();
    let timed_out = disk.transfer(0, Data::Write(&[1; 512]), &mut || false);
    assert_eq!(timed_out, Err(Failed::TimedOut("a request")));
    let late = disk.transfer(0, Data::Write(&[2; 512]), &mut pause(&backend, PATIENCE));
    assert_eq!(late, Err(Failed::Blkif(Error::NotConnected)));
    // One that does not close.
    let error = disk.close(&mut store, &mut || false).unwrap_err();
    assert_eq!(error, Failed::TimedOut("the backend's end"));
}

#[test]
fn an_answer_of_the_backends_is_passed_on() {
    let world = World::new();
    let backend = RefCell::new(Blkback::new(&world, VBD, 64));
    let mut disk = connect(&world, &backend).unwrap();
    let mut pause = pause(&backend, PATIENCE);
    let beyond = disk.transfer(60, Data::Write(&[0; 8 * 512]), &mut pause);
    assert_eq!(beyond, Err(Failed::Blkif(Error::Range { sector: 60, count: 8, sectors: 64 })));
    world.store().set("device/vbd/768/device-type", "cdrom");
    let cdrom = Polled::connect(world.hal(), &mut world.store(), VBD, |_| Ok(PORT), &mut pause);
    assert_eq!(cdrom.unwrap_err(), Failed::NoDisk);
    let no_port = hypercall::Error { call: "EVTCHNOP_alloc_unbound", errno: 28 };
    world.store().set("device/vbd/768/device-type", "disk");
    let refused = Polled::connect(world.hal(), &mut world.store(), VBD, |_| Err(no_port), &mut pause);
    assert_eq!(refused.unwrap_err(), Failed::NoPort(no_port));
}

#[test]
fn a_backend_that_has_no_flush_has_nothing_to_flush() {
    let world = World::new();
    let backend = RefCell::new(Blkback::new(&world, VBD, 64));
    let mut pause = pause(&backend, PATIENCE);
    // One that says so, and one whose device refuses what its nodes promise.
    backend.borrow_mut().set("feature-flush-cache", "0");
    let mut disk = connect(&world, &backend).unwrap();
    assert_eq!(disk.flush(&mut pause), Ok(()));
    disk.close(&mut world.store(), &mut pause).unwrap();
    backend.borrow_mut().set("feature-flush-cache", "1");
    backend.borrow_mut().refuses_features = true;
    let mut disk = connect(&world, &backend).unwrap();
    assert_eq!(disk.flush(&mut pause), Ok(()));
    assert_eq!(disk.flush(&mut pause), Ok(()));
    disk.transfer(8, Data::Write(&[5; 512]), &mut pause).unwrap();
    assert_eq!(backend.borrow().flushes.len(), 0);
}

#[test]
fn only_a_disk_that_is_shown_and_connected_is_found() {
    let world = World::new();
    let mut store = world.store();
    assert_eq!((found(&mut store, 0), any_shown(&mut store, &mut [0; NAMES])), (None, Ok(false)));
    let _backends: Vec<_> =
        [768, 832, 51712].map(|number| Blkback::new(&world, &std::format!("device/vbd/{number}"), 64)).into();
    let state = |number: u32, state: &str| store.set(&std::format!("device/vbd/{number}/state"), state);
    // An emulated boot: nobody is connected, and nothing is shown.
    assert_eq!(found(&mut store.clone(), 0), None);
    // Connected, and not shown: the guard has not given leave, or withdrawn it.
    state(768, "4");
    state(832, "4");
    assert_eq!(
        (found(&mut store.clone(), 0), any_shown(&mut store.clone(), &mut [0; NAMES])),
        (None, Ok(false))
    );
    publish(&mut store.clone(), "device/vbd/768", 0).unwrap();
    publish(&mut store.clone(), "device/vbd/832", 254).unwrap();
    publish(&mut store.clone(), "device/vbd/51712", 2).unwrap();
    assert_eq!(found(&mut store.clone(), 0), Some(PathBuf::new(VBD).unwrap()));
    assert_eq!(found(&mut store.clone(), 254), Some(PathBuf::new("device/vbd/832").unwrap()));
    assert_eq!(found(&mut store.clone(), 1), None);
    // Shown once, and not connected: what says so is left from somebody else.
    assert_eq!(found(&mut store.clone(), 2), None);
    state(51712, "6");
    assert_eq!(found(&mut store.clone(), 2), None);
    assert_eq!(any_shown(&mut store.clone(), &mut [0; NAMES]), Ok(true));
    for nonsense in ["", "yes", "-1", "99999999999999999999999"] {
        store.set("device/vbd/768/xenguard-target", nonsense);
        assert_eq!(found(&mut store.clone(), 0), None, "{nonsense}");
    }
    publish(&mut store.clone(), VBD, 0).unwrap();
    withdraw(&mut store.clone(), VBD).unwrap();
    withdraw(&mut store.clone(), VBD).unwrap();
    assert_eq!(found(&mut store.clone(), 0), None);
    let error = store::Error::Refused(store::Errno::Io);
    store.fail(Some(("device/vbd", error)));
    assert_eq!(find(&mut store, &mut [0; NAMES], 0), Err(error));
}
