use core::mem::offset_of;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::fake::{ServerTransport, Xenstored};
use crate::wire::xenstore::Interface;

type TestClient = Client<ServerTransport, Vec<u8>>;

fn client(server: &Xenstored) -> TestClient {
    Client::new(server.ring(), server.transport(), vec![0; 8192]).unwrap()
}

fn read(client: &mut TestClient, path: &str) -> Result<Vec<u8>, Error> {
    let mut buffer = [0; 4096];
    client.read(path, &mut buffer).map(<[u8]>::to_vec)
}

fn refused(errno: Errno) -> Error {
    Error::Refused(errno)
}

#[test]
fn a_list_longer_than_a_message_comes_in_parts() {
    for changes in [u32::MAX, 2, 3] {
        let server = Xenstored::new();
        let mut client = client(&server);
        let names: Vec<String> = (0..1500).map(|n| (51712 + n * 16).to_string()).collect();
        for name in &names {
            client.write(&std::format!("device/vbd/{name}/state"), b"1").unwrap();
        }
        server.change_lists_at(changes);
        let mut buffer = vec![0; 12000];
        let mut listed: Vec<&str> = client.directory("device/vbd", &mut buffer).unwrap().collect();
        listed.sort_by_key(|name| name.parse::<u32>().unwrap());
        assert_eq!(listed, names, "{changes}");
        let short = client.directory("device/vbd", &mut [0; 5000]).err();
        assert!(matches!(short, Some(Error::NoSpace { needed: 5001.., given: 5000 })), "{short:?}");
        assert_eq!(client.directory("device/vbd/51712/state", &mut buffer).unwrap().count(), 0);
    }
}

#[test]
fn nodes_are_written_read_listed_and_removed() {
    let server = Xenstored::new();
    let mut client = client(&server);
    client.write("device/vbd/768/state", b"1").unwrap();
    client.write("device/vbd/832/state", b"").unwrap();
    assert_eq!(read(&mut client, "device/vbd/768/state").unwrap(), b"1");
    assert_eq!(read(&mut client, "device/vbd/832/state").unwrap(), b"");
    let mut buffer = [0; 64];
    assert!(client.directory("device/vbd", &mut buffer).unwrap().eq(["768", "832"]));
    assert_eq!(client.directory("device/vbd/768/state", &mut buffer).unwrap().count(), 0);
    client.remove("device/vbd/768").unwrap();
    assert_eq!(read(&mut client, "device/vbd/768/state"), Err(refused(Errno::NoEntry)));
    client.within(0).make("empty").unwrap();
    assert_eq!(server.tree().text("empty").unwrap(), "");
}

#[test]
fn a_refusal_is_named_and_breaks_nothing() {
    let server = Xenstored::new();
    let mut client = client(&server);
    for (name, errno) in [
        (&b"EACCES\0"[..], Errno::Access),
        (b"ENOSPC\0", Errno::NoSpace),
        (b"EQUOTA\0", Errno::Quota),
        (b"E2BIG\0", Errno::TooBig),
        (b"EWHAT\0", Errno::Other),
        (b"\0", Errno::Other),
    ] {
        let id = client.next_id;
        server.answer_with(&Xenstored::message(kind::ERROR, id, name));
        assert_eq!(read(&mut client, "a"), Err(refused(errno)));
    }
    server.set("a", "x");
    assert_eq!(read(&mut client, "a").unwrap(), b"x");
}

#[test]
fn what_the_server_would_not_take_is_not_sent() {
    let server = Xenstored::new();
    let mut client = client(&server);
    let mut buffer = [0; 16];
    assert_eq!(client.read("a b", &mut buffer), Err(Error::Path { offset: 1 }));
    assert_eq!(client.directory("a/", &mut buffer).err(), Some(Error::Path { offset: 1 }));
    assert_eq!(client.remove(""), Err(Error::Path { offset: 0 }));
    assert_eq!(client.within(0).make("a//b"), Err(Error::Path { offset: 1 }));
    assert_eq!(client.write("a", &[0; 4095]), Err(Error::Payload { found: 4097, limit: 4096 }));
    assert_eq!(client.write("a.b", b""), Err(Error::Path { offset: 1 }));
    assert_eq!(client.watch("a", "t\0"), Err(Error::Token));
    assert_eq!(client.watch("a", &"t".repeat(3073)), Err(Error::PathLength { found: 3073, limit: 3072 }));
    assert_eq!(client.unwatch("a ", "t"), Err(Error::Path { offset: 1 }));
    assert!(server.requests().is_empty() && server.notified() == 0);
    // The largest that is allowed crosses the ring in pieces.
    client.write("a", &[7; 4094]).unwrap();
    assert_eq!(read(&mut client, "a").unwrap(), [7; 4094]);
}

#[test]
fn a_small_buffer_says_what_is_needed() {
    let server = Xenstored::new();
    let mut client = client(&server);
    server.set("a", "12345");
    assert_eq!(client.read("a", &mut [0; 4]), Err(Error::NoSpace { needed: 5, given: 4 }));
    assert_eq!(client.read("a", &mut [0; 5]).unwrap(), b"12345");
    let small = Client::new(server.ring(), server.transport(), vec![0; 4095]);
    assert_eq!(small.err(), Some(Error::NoSpace { needed: 4096, given: 4095 }));
}

#[test]
fn watch_events_are_kept_in_order_while_requests_go_on() {
    let server = Xenstored::new();
    let mut client = client(&server);
    client.watch("device", "d").unwrap();
    assert_eq!(server.watches(), [("device".to_string(), "d".to_string())]);
    server.set("device/a", "1");
    server.set("other", "1");
    server.set("device/b", "1");
    assert_eq!(read(&mut client, "other").unwrap(), b"1");
    let mut seen = Vec::new();
    while let Some(event) = client.next_event().unwrap() {
        let WatchEvent::Fired { path, token } = event else { panic!("{event:?}") };
        assert_eq!(token, "d");
        seen.push(path.to_string());
    }
    assert_eq!(seen, ["device", "device/a", "device/b"]);
    client.unwatch("device", "d").unwrap();
    assert_eq!(client.unwatch("device", "d"), Err(refused(Errno::NoEntry)));
    client.watch("device", "d").unwrap();
    client.reset_watches().unwrap();
    assert!(server.watches().is_empty());
}

#[test]
fn events_without_a_place_are_reported_lost() {
    let server = Xenstored::new();
    let mut client = Client::new(server.ring(), server.transport(), vec![0; PAYLOAD_BUFFER + 14]).unwrap();
    client.watch("device", "d").unwrap();
    server.set("device/a", "1");
    client.write("x", b"").unwrap();
    assert_eq!(client.next_event().unwrap(), Some(WatchEvent::Fired { path: "device", token: "d" }));
    assert_eq!(client.next_event().unwrap(), Some(WatchEvent::Lost));
    assert_eq!(client.next_event().unwrap(), None);
}

#[test]
fn transactions_apply_or_not() {
    let server = Xenstored::new();
    let mut client = client(&server);
    let id = client.begin().unwrap();
    client.within(id).write("a", b"1").unwrap();
    client.end(id, false).unwrap();
    assert_eq!(server.tree().value("a"), None);
    assert_eq!(client.end(id, true), Err(refused(Errno::NoEntry)));
    assert_eq!(client.within(77).read("a", &mut [0; 4]), Err(refused(Errno::NoEntry)));

    let mut runs = 0;
    server.collide(2);
    let result = client.transact(3, |store| {
        runs += 1;
        store.write("a", b"1")?;
        Ok(runs)
    });
    assert_eq!(result, Ok(3));
    assert_eq!(server.tree().text("a").unwrap(), "1");

    server.collide(9);
    assert_eq!(client.transact(2, |store| store.write("a", b"2")), Err(refused(Errno::Again)));
    assert_eq!(server.tree().text("a").unwrap(), "1");
    server.collide(0);
    // A collision that the body itself is told of.
    let mut runs = 0;
    let result = client.transact(2, |_| {
        runs += 1;
        if runs == 1 { Err(refused(Errno::Again)) } else { Ok(runs) }
    });
    assert_eq!(result, Ok(2));
    let failed = client.transact(2, |store| {
        store.write("a", b"3")?;
        store.remove("none")
    });
    assert_eq!(failed, Err(refused(Errno::NoEntry)));
    assert_eq!(server.tree().text("a").unwrap(), "1");
    let ends = server.requests().iter().filter(|(kind, _)| *kind == kind::TRANSACTION_END).count();
    let begins = server.requests().iter().filter(|(kind, _)| *kind == kind::TRANSACTION_START).count();
    assert_eq!(ends, begins + 1);
}

#[test]
fn an_impossible_transaction_number_is_a_fault() {
    for answer in [&b"0\0"[..], b"1", b"x\0", b"", b"4294967296\0"] {
        let server = Xenstored::new();
        let mut client = client(&server);
        server.answer_with(&Xenstored::message(kind::TRANSACTION_START, 1, answer));
        assert_eq!(client.begin(), Err(Error::Broken(Fault::Malformed { kind: kind::TRANSACTION_START })));
    }
}

/// Has the first request, a READ with number 1, answered by `bytes`; the fault has to stick.
fn fault_of(bytes: &[u8]) -> Fault {
    let server = Xenstored::new();
    let mut client = client(&server);
    server.answer_with(bytes);
    let Err(Error::Broken(fault)) = read(&mut client, "a") else { panic!("no fault") };
    assert_eq!(client.fault(), Some(fault));
    let sent = server.requests().len();
    assert_eq!(client.write("a", b"1"), Err(Error::Broken(fault)));
    assert_eq!(client.next_event(), Err(Error::Broken(fault)));
    assert_eq!(client.begin(), Err(Error::Broken(fault)));
    assert_eq!(client.drain(), Err(Error::Broken(fault)));
    assert_eq!(server.requests().len(), sent);
    assert_eq!(client.release().err(), Some(Error::Broken(fault)));
    fault
}

#[test]
fn malformed_replies_break_the_connection() {
    let message = Xenstored::message;
    assert_eq!(fault_of(&message(kind::READ, 2, b"x")), Fault::RequestId { expected: Some(1), found: 2 });
    assert_eq!(
        fault_of(&message(kind::WRITE, 1, b"x")),
        Fault::Kind { expected: kind::READ, found: kind::WRITE }
    );
    assert_eq!(fault_of(&message(kind::ERROR, 1, b"ENOENT")), Fault::Malformed { kind: kind::ERROR });
    assert_eq!(fault_of(&message(kind::ERROR, 1, b"")), Fault::Malformed { kind: kind::ERROR });
    assert_eq!(
        fault_of(&message(kind::WATCH_EVENT, 0, b"a\0")),
        Fault::Malformed { kind: kind::WATCH_EVENT }
    );
    let mut oversized = message(kind::READ, 1, b"");
    oversized[12..16].copy_from_slice(&4097u32.to_le_bytes());
    assert_eq!(fault_of(&oversized), Fault::Oversized { found: 4097, limit: 4096 });
    oversized[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(fault_of(&oversized), Fault::Oversized { found: u32::MAX, limit: 4096 });
}

#[test]
fn malformed_payloads_break_the_connection() {
    let server = Xenstored::new();
    let mut writer = client(&server);
    server.answer_with(&Xenstored::message(kind::WRITE, 1, b"OK"));
    assert_eq!(writer.write("a", b"1"), Err(Error::Broken(Fault::Malformed { kind: kind::WRITE })));
    let server = Xenstored::new();
    let mut lister = client(&server);
    server.answer_with(&Xenstored::message(kind::DIRECTORY, 1, b"a\0b"));
    let fault = Fault::Malformed { kind: kind::DIRECTORY };
    assert_eq!(lister.directory("a", &mut [0; 16]).err(), Some(Error::Broken(fault)));
    assert_eq!(lister.fault(), Some(fault));
}

#[test]
fn a_reply_to_nothing_is_a_fault() {
    let server = Xenstored::new();
    let mut client = client(&server);
    server.send(&Xenstored::message(kind::READ, 1, b"x"));
    server.step();
    let fault = Fault::RequestId { expected: None, found: 1 };
    assert_eq!(client.next_event(), Err(Error::Broken(fault)));
}

#[test]
fn impossible_indices_are_a_fault() {
    let (produced, consumed) = (offset_of!(Interface, rsp_prod), offset_of!(Interface, req_cons));
    // More replies than fit; more requests taken than were sent, or fewer than there is room for.
    for (offset, value) in [
        (produced, 1025),
        (produced, u32::MAX),
        (consumed, 1),
        (consumed, 0x8000_0000),
        (consumed, 0u32.wrapping_sub(1025)),
    ] {
        let server = Xenstored::new();
        let mut client = client(&server);
        server.set_index(offset, value);
        let answer = read(&mut client, "a");
        assert!(matches!(answer, Err(Error::Broken(Fault::Indices { .. }))), "{answer:?}");
        assert!(server.requests().is_empty());
    }
}

#[test]
fn our_own_indices_are_not_read_back() {
    let server = Xenstored::new();
    let mut client = client(&server);
    server.set("a", "1");
    assert_eq!(read(&mut client, "a").unwrap(), b"1");
    server.set_index(offset_of!(Interface, rsp_cons), 0x1234_5678);
    assert_eq!(read(&mut client, "a").unwrap(), b"1");
    let page = server.ring().memory().read::<[u8; 16]>(offset_of!(Interface, req_cons));
    assert_ne!(page[8..12], 0x1234_5678u32.to_le_bytes());
}

#[test]
fn an_answer_that_comes_too_late_is_dropped() {
    let server = Xenstored::new();
    let mut client = client(&server);
    server.set("a", "1");
    server.set("b", "2");
    server.sleep(70);
    server.set_patience(4);
    assert_eq!(read(&mut client, "a"), Err(Error::TimedOut));
    assert_eq!(client.fault(), None);
    // Still asleep: the answer to the first is waited for again.
    assert_eq!(read(&mut client, "b"), Err(Error::TimedOut));
    server.sleep(0);
    assert_eq!(read(&mut client, "b").unwrap(), b"2");
    let asked: Vec<_> = server.requests().into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(asked, [b"a\0".to_vec(), b"b\0".to_vec()]);
}

#[test]
fn giving_up_before_anything_is_sent_leaves_nothing() {
    let server = Xenstored::new();
    let mut client = client(&server);
    server.sleep(u32::MAX);
    server.set_patience(2);
    // Fills the ring but for some bytes.
    let mut junk = vec![0; 1000];
    junk[..16].copy_from_slice(&Xenstored::message(kind::WRITE, 500, &[0; 984])[..16]);
    client.ring.put(&junk).unwrap();
    client.ring.publish();
    assert_eq!(client.write("a", &[1; 100]), Err(Error::TimedOut));
    assert!(client.open.is_none() && client.fault().is_none());
    assert_eq!(client.ring.room(), Ok(24));
}

#[test]
fn half_a_message_breaks_the_connection() {
    let server = Xenstored::new();
    let mut client = client(&server);
    server.sleep(u32::MAX);
    server.set_patience(2);
    let fault = Fault::Stalled { sent: 1024, of: 2018 };
    assert_eq!(client.write("a", &[1; 2000]), Err(Error::Broken(fault)));
    assert_eq!(client.drain(), Err(Error::Broken(fault)));
}

#[test]
fn the_ring_is_left_clean_for_the_next_client() {
    let server = Xenstored::new();
    server.set("a", "1");
    let mut first = client(&server);
    first.watch("a", "t").unwrap();
    server.sleep(3);
    server.set_patience(0);
    assert_eq!(read(&mut first, "a"), Err(Error::TimedOut));
    server.set_chunk(5);
    server.set_patience(64);
    let ring = first.release().unwrap();
    let mut second = Client::new(ring, server.transport(), vec![0; 8192]).unwrap();
    assert_eq!(read(&mut second, "a").unwrap(), b"1");
    // One that finds the page itself as well.
    second.release().unwrap();
    assert_eq!(read(&mut client(&server), "a").unwrap(), b"1");
}

#[test]
fn half_an_event_is_not_left_to_the_next_client() {
    let server = Xenstored::new();
    server.set("a", "1");
    let mut first = client(&server);
    server.send(&Xenstored::message(kind::WATCH_EVENT, 0, b"device/vbd\0token\0"));
    server.set_chunk(20);
    server.step();
    // Takes what is there: the header and part of the payload.
    assert_eq!(first.next_event(), Ok(None));
    let ring = first.release().unwrap();
    let mut second = Client::new(ring, server.transport(), vec![0; 8192]).unwrap();
    assert_eq!(read(&mut second, "a").unwrap(), b"1");
}

#[test]
fn the_server_is_told_of_room_only_when_the_ring_was_full() {
    let server = Xenstored::new();
    let mut client = client(&server);
    server.set("small", "1");
    server.set("large", &"x".repeat(3000));
    read(&mut client, "small").unwrap();
    assert_eq!(server.notified(), 1);
    read(&mut client, "large").unwrap();
    assert!(server.notified() > 2, "{}", server.notified());
}

#[test]
fn waiting_goes_on_as_long_as_something_comes() {
    let server = Xenstored::new();
    let mut client = client(&server);
    server.set("large", &"x".repeat(3000));
    server.set_chunk(1);
    server.set_patience(30);
    assert_eq!(read(&mut client, "large").unwrap().len(), 3000);
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec("[A-Za-z0-9_@-]{1,12}", 1..6).prop_map(|parts| parts.join("/"))
}

proptest! {
    /// Written data is read back, wherever the indices stand and in whatever pieces the bytes travel.
    #[test]
    fn framing_round_trips(
        nodes in prop::collection::btree_map(name(), prop::collection::vec(any::<u8>(), 0..1500), 1..6),
        request: u32,
        reply: u32,
        chunk in 1usize..2000,
        watched: bool,
    ) {
        let server = Xenstored::starting_at(request, reply);
        server.set_chunk(chunk);
        server.set_patience(5000);
        let mut client = client(&server);
        if watched {
            client.watch("/", "t").unwrap();
        }
        for (path, value) in &nodes {
            client.write(path, value).unwrap();
        }
        for (path, value) in &nodes {
            prop_assert_eq!(&read(&mut client, path).unwrap(), value);
        }
        client.drain().unwrap();
        prop_assert_eq!(client.fault(), None);
    }

    /// Whatever bytes come, nothing panics or hangs, and a fault stays.
    #[test]
    fn arbitrary_bytes_do_no_harm(
        answers in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 1..8),
        headers in prop::collection::vec((0u32..24, 0u32..6, 0u32..5000), 0..8),
        chunk in 1usize..200,
    ) {
        let server = Xenstored::new();
        server.set_chunk(chunk);
        server.set_patience(20);
        for (index, answer) in answers.iter().enumerate() {
            match headers.get(index) {
                // A header that may be right, then the bytes.
                Some((kind, id, len)) => {
                    let mut message = Xenstored::message(*kind, *id, answer);
                    if id % 2 == 0 {
                        message[12..16].copy_from_slice(&len.to_le_bytes());
                    }
                    server.answer_with(&message);
                }
                None => server.answer_with(answer),
            }
        }
        let mut client = client(&server);
        for _ in 0..answers.len() + 2 {
            let before = client.fault();
            let mut buffer = [0; 32];
            let _ = client.read("a", &mut buffer);
            let _ = client.directory("a", &mut buffer).map(Iterator::count);
            let _ = client.begin();
            let _ = client.next_event().map(|event| event.is_some());
            prop_assert!(before.is_none() || client.fault() == before);
        }
        let _ = client.release();
    }
}

#[test]
fn a_request_that_fits_is_seen_whole_or_not_at_all() {
    let server = Xenstored::new();
    let mut ring = server.ring();
    let index = |ring: &crate::store::Ring| {
        ring.memory().atomic_u32(offset_of!(Interface, req_prod)).load(core::sync::atomic::Ordering::SeqCst)
    };
    assert_eq!(ring.put(b"header"), Ok(6));
    assert_eq!(ring.put(b"payload"), Ok(7));
    assert_eq!(index(&ring), 0);
    ring.publish();
    assert_eq!(index(&ring), 13);
}

#[test]
fn a_page_is_inherited_from_whoever_is_gone() {
    // Requests not taken, replies not read or half read, events on the way: wherever the former user stopped.
    for (chunk, steps, taken) in
        [(1024, 0, 0), (1024, 1, 0), (1024, 1, 5), (7, 3, 2), (1, 40, 16), (3, 30, 30)]
    {
        let server = Xenstored::new();
        server.set("a", "former");
        let mut former = client(&server);
        former.watch("a", "token").unwrap();
        server.set_chunk(chunk);
        for id in [70, 71] {
            former.ring.put(&Xenstored::message(kind::READ, id, b"a\0")).unwrap();
        }
        former.ring.publish();
        server.set("a", "changed");
        for _ in 0..steps {
            server.step();
        }
        former.ring.receive(&mut vec![0; taken]).unwrap();
        drop(former);
        let memory = server.memory();
        let ring = crate::store::Ring::inherit(memory, 8, || {
            server.step();
            true
        });
        let mut heir = Client::new(ring.unwrap(), server.transport(), vec![0; 8192]).unwrap();
        assert_eq!(read(&mut heir, "a"), Ok(b"changed".to_vec()), "{chunk} {steps} {taken}");
        assert_eq!(heir.fault(), None);
    }
    let dead = Xenstored::new();
    dead.ring().put(b"x").unwrap();
    let mut waits = 0;
    let given_up = crate::store::Ring::inherit(dead.memory(), 8, || {
        waits += 1;
        waits < 3
    });
    assert!(given_up.is_none() && waits == 3);
}
