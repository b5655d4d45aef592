use super::*;
use std::string::String;
use std::vec::Vec;

use crate::blkif::{Config, FlushMethod, Frontend};
use crate::fake::{Blkback, Tree, World};
use crate::store::Errno;

const PATH: &str = "device/vbd/768";

/// The nodes that a frontend offers.
struct Offer {
    ring: Vec<GrantRef>,
    port: Port,
}

/// Returns a device, its frontend's offer, and the store.
fn setup(world: &World) -> (Blkback, XenbusDevice, Frontend<crate::fake::Hal>, Offer, Tree) {
    let backend = Blkback::new(world, PATH, 64);
    let mut store = world.store();
    let xenbus = XenbusDevice::open(&mut store, PATH).unwrap();
    let frontend = Frontend::new(world.hal(), xenbus.vbd(), Config::SMALL).unwrap();
    let offer = Offer { ring: frontend.ring().to_vec(), port: Port(7) };
    (backend, xenbus, frontend, offer, store)
}

fn publish(xenbus: &mut XenbusDevice, store: &mut Tree, offer: &Offer) -> Result<(), Error> {
    let queue = QueueOffer { ring: &offer.ring, port: offer.port };
    xenbus.publish(store, false, &[queue])
}

fn connect(backend: &mut Blkback, xenbus: &mut XenbusDevice, store: &mut Tree, offer: &Offer) -> Disk {
    for _ in 0..10 {
        match xenbus.advance(store).unwrap() {
            Event::Connected(disk) => return disk,
            Event::Wanted(_) => publish(xenbus, store, offer).unwrap(),
            event => assert_eq!(event, Event::Waiting),
        }
        backend.negotiate();
    }
    panic!("not connected");
}

#[test]
fn the_vbd_is_read_from_the_frontends_nodes() {
    let world = World::new();
    let (_, xenbus, ..) = setup(&world);
    let expected =
        Vbd { backend_domain: DomainId(0), device: VirtualDevice(768), kind: Kind::Disk, trusted: true };
    assert_eq!(xenbus.vbd(), expected);
    assert_eq!(xenbus.backend(), "/local/domain/0/backend/vbd/1/768");
}

#[test]
fn a_folder_without_a_backend_is_no_device() {
    let world = World::new();
    let (_backend, .., store) = setup(&world);
    store.set("device/vbd/51744/state", "6");
    store.set("device/vbd/51744/virtual-device", "51744");
    let open = |path: &str| XenbusDevice::open(&mut store.clone(), path);
    assert!(open("device/vbd/51744").unwrap_err().is_no_device());
    store.set("device/vbd/51744/backend", "/local/domain/0/backend/vbd/1/51744");
    assert!(!open("device/vbd/51744").unwrap_err().is_no_device(), "it has one, and the rest is missing");
    store.fail(Some(("device/vbd/768/backend", store::Error::TimedOut)));
    assert!(!open(PATH).unwrap_err().is_no_device());
}

#[test]
fn nodes_that_were_made_anew_are_told() {
    let world = World::new();
    let (mut backend, mut xenbus, _frontend, offer, mut store) = setup(&world);
    assert_eq!(xenbus.is_replaced(&mut store), Ok(false), "it has not connected yet");
    connect(&mut backend, &mut xenbus, &mut store, &offer);
    assert_eq!(xenbus.is_replaced(&mut store), Ok(false));
    let state = std::format!("{PATH}/state");
    for (written, replaced) in [("1", true), ("4", false), ("5", false)] {
        store.set(&state, written);
        assert_eq!(xenbus.is_replaced(&mut store), Ok(replaced), "{written}");
    }
    // Told to close, it was still there when somebody made it anew.
    backend.set_state(State::Closing);
    assert_eq!(xenbus.advance(&mut store), Ok(Event::Stop));
    for (written, replaced) in [("4", false), ("1", true)] {
        store.set(&state, written);
        assert_eq!(xenbus.is_replaced(&mut store), Ok(replaced), "{written}, told to close");
    }
    // While it closed, too.
    store.set(&state, "4");
    xenbus.close(&mut store).unwrap();
    for (written, replaced) in [("6", false), ("1", true)] {
        store.set(&state, written);
        assert_eq!(xenbus.is_replaced(&mut store), Ok(replaced), "{written}, closed");
    }
    assert!(store.delete(&state));
    assert_eq!(xenbus.is_replaced(&mut store), Ok(true));
    store.fail(Some((&state, store::Error::TimedOut)));
    assert!(xenbus.is_replaced(&mut store).is_err());
}

#[test]
fn values_of_the_backends_are_told() {
    let world = World::new();
    let (_backend, xenbus, .., store) = setup(&world);
    store.set("/local/domain/0/backend/vbd/1/768/params", "aio:/d.img");
    store.set("/local/domain/0/backend/vbd/1/768/mode", "w");
    let read = |store: &Tree, buffer: &mut [u8]| {
        let mut told = Vec::new();
        let nodes = ["params", "physical-device", "mode"];
        xenbus
            .backend_values(&mut store.clone(), &nodes, buffer, |node, value| {
                told.push((node, value.to_vec()));
            })
            .map(|()| told)
    };
    let told = read(&store, &mut [0; 64]).unwrap();
    assert_eq!(told, [("params", b"aio:/d.img".to_vec()), ("mode", b"w".to_vec())]);
    let error = store::Error::NoSpace { needed: 10, given: 4 };
    assert_eq!(read(&store, &mut [0; 4]), Err(Error::Store { node: "params", error }));
    store.fail(Some(("/local/domain/0/backend/vbd/1/768/mode", store::Error::TimedOut)));
    let error = store::Error::TimedOut;
    assert_eq!(read(&store, &mut [0; 64]), Err(Error::Store { node: "mode", error }));
    store.fail(Some(("/local/domain/0/backend/vbd/1/768/params", store::Error::Refused(Errno::Access))));
    assert_eq!(read(&store, &mut [0; 64]).unwrap(), [("mode", b"w".to_vec())]);
}

#[test]
fn opening_writes_nothing_and_names_what_is_wrong() {
    let world = World::new();
    let _backend = Blkback::new(&world, PATH, 64);
    let mut store = world.store();
    let honest = store.snapshot();
    XenbusDevice::open(&mut store, PATH).unwrap();
    assert_eq!(store.snapshot(), honest);

    let mut open = |node: &str, value: Option<&str>| {
        store.restore(honest.clone());
        let path = std::format!("{PATH}/{node}");
        match value {
            Some(value) => store.set(&path, value),
            None => assert!(store.delete(&path)),
        }
        XenbusDevice::open(&mut store, PATH).map(|xenbus| xenbus.vbd())
    };
    let missing = store::Error::Refused(Errno::NoEntry);
    for node in ["backend", "backend-id", "virtual-device", "device-type"] {
        assert_eq!(open(node, None).unwrap_err(), Error::Store { node, error: missing });
    }
    let path = Error::Store { node: "backend", error: store::Error::Path { offset: 1 } };
    assert_eq!(open("backend", Some("/ x")).unwrap_err(), path);
    assert!(matches!(open("backend", Some(&"x".repeat(300))), Err(Error::Store { node: "backend", .. })));
    assert_eq!(
        open("backend-id", Some("32752")).unwrap_err(),
        Error::Node { node: "backend-id", found: 32752 }
    );
    let device = Error::Node { node: "virtual-device", found: 1 << 32 };
    assert_eq!(open("virtual-device", Some("4294967296")).unwrap_err(), device);
    assert_eq!(open("device-type", Some("cdrom")).unwrap().kind, Kind::Cdrom);
    assert_eq!(open("device-type", Some("floppy")).unwrap().kind, Kind::Other);
    assert_eq!(open("device-type", Some(&"x".repeat(17))).unwrap().kind, Kind::Other);
    assert!(!open("trusted", Some("0")).unwrap().trusted);
    assert!(open("trusted", Some("1")).unwrap().trusted);
}

#[test]
fn both_ends_get_connected() {
    let world = World::new();
    let (mut backend, mut xenbus, frontend, offer, mut store) = setup(&world);
    store.set("device/vbd/768/ring-page-order", "2");
    store.set("device/vbd/768/multi-queue-num-queues", "4");
    let disk = connect(&mut backend, &mut xenbus, &mut store, &offer);
    assert_eq!((disk.sectors, disk.flush), (64, FlushMethod::Flush));
    let node = |name: &str| store.text(&std::format!("{PATH}/{name}"));
    assert_eq!(node("ring-ref").unwrap(), std::format!("{}", frontend.ring()[0].0));
    assert_eq!(node("event-channel").unwrap(), "7");
    assert_eq!(node("protocol").unwrap(), "x86_64-abi");
    assert_eq!(node("state").unwrap(), "4");
    assert_eq!((node("ring-page-order"), node("multi-queue-num-queues")), (None, None));
    assert_eq!(backend.port(), Port(7));
}

#[test]
fn an_earlier_session_is_ended() {
    let world = World::new();
    let (mut backend, mut xenbus, _frontend, offer, mut store) = setup(&world);
    backend.set_state(State::Connected);
    store.set("device/vbd/768/state", "4");
    connect(&mut backend, &mut xenbus, &mut store, &offer);
    assert_eq!(backend.state(), State::Connected);
}

#[test]
fn a_new_size_is_seen_while_connected() {
    let world = World::new();
    let (mut backend, mut xenbus, _frontend, offer, mut store) = setup(&world);
    connect(&mut backend, &mut xenbus, &mut store, &offer);
    backend.set("sectors", "128");
    let Event::Unchanged(disk) = xenbus.advance(&mut store).unwrap() else { panic!() };
    assert_eq!(disk.sectors, 128);
}

#[test]
fn a_closing_backend_is_followed_and_a_new_session_begins() {
    let world = World::new();
    let (mut backend, mut xenbus, frontend, offer, mut store) = setup(&world);
    connect(&mut backend, &mut xenbus, &mut store, &offer);
    backend.set_state(State::Closing);
    assert_eq!(xenbus.advance(&mut store), Ok(Event::Stop));
    assert_eq!(xenbus.advance(&mut store), Ok(Event::Stop));
    xenbus.close(&mut store).unwrap();
    backend.negotiate();
    assert_eq!(xenbus.advance(&mut store), Ok(Event::Waiting));
    backend.negotiate();
    assert_eq!(xenbus.advance(&mut store), Ok(Event::Closed));
    assert_eq!(store.text("device/vbd/768/state").unwrap(), "6");
    drop(frontend);
    assert_eq!(world.leaked_grants(), 0);

    let frontend = Frontend::new(world.hal(), xenbus.vbd(), Config::SMALL).unwrap();
    xenbus.reopen(&mut store).unwrap();
    backend.negotiate();
    connect(&mut backend, &mut xenbus, &mut store, &Offer { ring: frontend.ring().to_vec(), port: Port(8) });
    assert_eq!(backend.port(), Port(8));
}

/// Goes on with a backend that was told to close; answers the end, and how often rings were made. `each` is called
/// with the backend at each pause.
fn connect_again(
    again: bool,
    online: &str,
    mut each: impl FnMut(&mut Blkback, usize),
) -> (Result<Connected, Error>, usize) {
    let world = World::new();
    let (mut backend, mut xenbus, _frontend, offer, mut store) = setup(&world);
    connect(&mut backend, &mut xenbus, &mut store, &offer);
    backend.set("online", online);
    backend.busy = true;
    xenbus.close(&mut store).unwrap();
    while xenbus.advance(&mut store) != Ok(Event::Closed) {
        backend.negotiate();
    }
    assert_eq!((backend.state(), backend.rings()), (State::Closed, 1), "its ring is mapped still");
    let mut xenbus = XenbusDevice::open(&mut store, PATH).unwrap();
    let (mut offers, mut pauses) = (0, 0);
    let mut tree = store.clone();
    let ended = xenbus.connect(
        &mut store,
        again,
        |xenbus, _| {
            offers += 1;
            publish(xenbus, &mut tree, &offer)
        },
        || {
            pauses += 1;
            each(&mut backend, pauses);
            backend.negotiate();
            pauses < 100
        },
    );
    (ended, offers)
}

#[test]
fn a_backend_that_is_busy_is_asked_again() {
    // It has answered what it had when it is asked for the second time.
    let mut refused = false;
    let (ended, offers) = connect_again(true, "1", |backend, _| {
        refused |= backend.state() == State::Closing;
        if refused && backend.busy {
            backend.busy = false;
            backend.release_ring();
        }
    });
    assert!(matches!(ended, Ok(Connected::To(Disk { sectors: 64, .. }))), "{ended:?}");
    assert_eq!((refused, offers), (true, 2));
    // It never has.
    let (ended, offers) = connect_again(true, "1", |_, _| ());
    assert_eq!(ended, Ok(Connected::TimedOut));
    assert!(offers > 2, "{offers}");
}

#[test]
fn a_backend_that_is_detached_is_not_asked_again() {
    assert_eq!(connect_again(true, "0", |_, _| ()), (Ok(Connected::Refused), 1));
    assert_eq!(connect_again(false, "1", |_, _| ()), (Ok(Connected::Refused), 1));
}

#[test]
fn a_vanished_backend_stops_the_frontend() {
    let world = World::new();
    let (mut backend, mut xenbus, _frontend, offer, mut store) = setup(&world);
    connect(&mut backend, &mut xenbus, &mut store, &offer);
    assert!(store.delete("/local/domain/0/backend/vbd/1/768"));
    assert_eq!(xenbus.backend_state(&mut store), Ok(State::Unknown));
    assert_eq!(xenbus.advance(&mut store), Ok(Event::Stop));
    xenbus.close(&mut store).unwrap();
    assert_eq!(xenbus.advance(&mut store), Ok(Event::Closed));
}

#[test]
fn a_step_that_failed_is_tried_again() {
    let world = World::new();
    let (mut backend, mut xenbus, _frontend, offer, mut store) = setup(&world);
    for node in ["state", "ring-ref", "event-channel", "protocol"] {
        let path = std::format!("{PATH}/{node}");
        store.fail(Some((&path, store::Error::TimedOut)));
        let step = match xenbus.advance(&mut store) {
            Ok(Event::Wanted(_)) => publish(&mut xenbus, &mut store, &offer).unwrap_err(),
            other => other.unwrap_err(),
        };
        assert_eq!(step, Error::Store { node, error: store::Error::TimedOut });
        assert_eq!(backend.state(), State::InitWait);
    }
    store.fail(None);
    let Ok(Event::Wanted(_)) = xenbus.advance(&mut store) else { panic!() };
    publish(&mut xenbus, &mut store, &offer).unwrap();
    assert_eq!(xenbus.advance(&mut store), Ok(Event::Waiting));
    backend.negotiate();
    // A disk that makes no sense is not connected to, but may get better.
    backend.set("sectors", "x");
    for _ in 0..2 {
        let error = store::Error::Value;
        assert_eq!(xenbus.advance(&mut store), Err(Error::Store { node: "sectors", error }));
        assert_eq!(store.text("device/vbd/768/state").unwrap(), "3");
    }
    backend.set("sectors", "64");
    assert!(matches!(xenbus.advance(&mut store), Ok(Event::Connected(_))));
}

#[test]
fn a_backend_that_runs_through_states_does_not_keep_the_caller() {
    let world = World::new();
    let (mut backend, mut xenbus, _frontend, _, mut store) = setup(&world);
    for state in [State::Initialising, State::Reconfiguring, State::Unknown, State::Closed] {
        backend.set_state(state);
        assert_eq!(xenbus.advance(&mut store), Ok(Event::Waiting), "{state:?}");
    }
    assert_eq!(store.value("device/vbd/768/ring-ref"), None);
}

/// Connects with so many queues; answers the frontend's nodes, all of which the backend has understood.
fn nodes_of(
    backend_nodes: &[(&str, &str)],
    config: Config,
    queues: u32,
) -> impl Fn(&str) -> Option<std::string::String> {
    let world = World::with_grants(4096);
    let mut backend = Blkback::new(&world, PATH, 64);
    backend_nodes.iter().for_each(|(node, value)| backend.set(node, value));
    let store = world.store();
    // Left by somebody who used more.
    for stale in ["ring-ref15", "queue-7/ring-ref", "num-ring-pages", "feature-persistent"] {
        store.set(&std::format!("{PATH}/{stale}"), "8");
    }
    let ports: Vec<Port> = (0..queues).map(|n| Port(20 + n)).collect();
    let frontends = backend.connect_frontend(config, &ports);
    assert_eq!((backend.rings(), frontends.len()), (queues as usize, queues as usize));
    for (number, frontend) in frontends.iter().enumerate() {
        backend.select(number);
        assert_eq!((backend.port(), backend.ring_pages()), (ports[number], frontend.ring().len()));
    }
    drop((frontends, backend));
    move |node| store.text(&std::format!("{PATH}/{node}"))
}

#[test]
fn both_schemes_of_larger_rings_are_spoken() {
    let config = Config { ring_order: 2, ..Config::SMALL };
    let node = nodes_of(&[("max-ring-page-order", "4")], config, 1);
    let both = |node: &dyn Fn(&str) -> Option<String>| (node("ring-page-order"), node("num-ring-pages"));
    assert_eq!(both(&node), (Some("2".into()), Some("4".into())));
    assert!(node("ring-ref0").is_some() && node("ring-ref3").is_some());
    assert_eq!((node("ring-ref"), node("ring-ref4"), node("ring-ref15")), (None, None, None));

    let node = nodes_of(&[("max-ring-pages", "2")], config, 1);
    assert_eq!(both(&node), (Some("1".into()), Some("2".into())));
    assert!(node("ring-ref1").is_some() && node("ring-ref2").is_none());

    let node = nodes_of(&[], config, 1);
    assert!(
        node("ring-ref").is_some() && node("ring-page-order").is_none() && node("num-ring-pages").is_none()
    );
}

#[test]
fn queues_have_folders_of_their_own() {
    let offered =
        [("multi-queue-max-queues", "4"), ("max-ring-page-order", "1"), ("feature-persistent", "1")];
    let config = Config { ring_order: 1, persistent: true, ..Config::SMALL };
    let node = nodes_of(&offered, config, 3);
    assert_eq!(node("multi-queue-num-queues").as_deref(), Some("3"));
    assert_eq!(node("queue-2/event-channel").as_deref(), Some("22"));
    assert!(node("queue-0/ring-ref0").is_some() && node("queue-2/ring-ref1").is_some());
    assert_eq!(
        (node("queue-3/event-channel"), node("queue-7/ring-ref"), node("ring-ref0")),
        (None, None, None)
    );
    assert_eq!(node("feature-persistent").as_deref(), Some("1"));
    assert_eq!((node("event-channel"), node("ring-page-order").as_deref()), (None, Some("1")));
}
