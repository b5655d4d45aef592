use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::super::frontend::SegmentSource;
use super::*;
use crate::blkif::{Config, Fault};
use crate::fake::{self, Blkback, World};
use crate::{Frame, Port, ring};

const SECTORS: u64 = 512;
const SLOTS: usize = 32;

struct Setup {
    world: World,
    backend: Blkback,
    frontend: Frontend<fake::Hal>,
}

fn setup(nodes: &[(&str, &str)]) -> Setup {
    setup_in(World::new(), nodes)
}

fn setup_in(world: World, nodes: &[(&str, &str)]) -> Setup {
    let mut backend = Blkback::new(&world, "device/vbd/768", SECTORS);
    for (node, value) in nodes {
        backend.set(node, value);
    }
    let frontend = backend.connect_frontend(Config::SMALL, &[Port(7)]).remove(0);
    Setup { world, backend, frontend }
}

impl Setup {
    /// Returns a page that starts with `bytes`, as an element.
    fn element(&self, bytes: &[u8], offset: u64, length: u32) -> Element {
        Element { address: self.world.page_of(bytes).0 * 4096 + offset, length }
    }

    /// Runs a transfer to its end; answers the outcome and how many requests it took.
    fn finish(&mut self, transfer: &mut Transfer, list: &[Element]) -> (Outcome, usize) {
        let mut requests = 0;
        loop {
            transfer.submit(&mut self.frontend, Memory::Pages(&list)).unwrap();
            self.frontend.push();
            self.backend.run();
            while let Some(completion) = self.frontend.poll() {
                requests += 1;
                if let Some(outcome) = transfer.complete(&completion) {
                    assert!(self.frontend.poll().is_none());
                    return (outcome, requests);
                }
            }
        }
    }
}

const DONE: Outcome = Outcome { result: Ok(()), pages_held: false };

#[test]
fn a_large_write_is_cut_and_put_together() {
    let mut setup = setup(&[]);
    let list: Vec<Element> = (0..30).map(|n| setup.element(&[n; 4096], 0, 4096)).collect();
    let mut transfer = Transfer::new(1, Operation::Write, 100, 30 * 4096, 512, &list[..]).unwrap();
    assert_eq!(setup.finish(&mut transfer, &list), (DONE, 3));
    for n in 0..30 {
        let at = (100 + n * 8) * 512;
        assert!(setup.backend.sectors()[at..at + 4096].iter().all(|byte| *byte == n as u8));
    }
}

#[test]
fn a_flush_is_one_request() {
    let mut setup = setup(&[]);
    let mut transfer = Transfer::flush(1);
    assert!(transfer.is_partial());
    assert_eq!(setup.finish(&mut transfer, &[]), (DONE, 1));
    assert_eq!(setup.backend.flushes.len(), 1);
    let mut setup = self::setup(&[("feature-flush-cache", "0")]);
    assert_eq!(
        Transfer::flush(1).submit(&mut setup.frontend, Memory::<[Element]>::None),
        Err(Error::FlushUnsupported)
    );
}

#[test]
fn memory_that_is_not_whole_sectors_needs_a_bounce() {
    let new = |bytes, list: &[Element]| Transfer::new(1, Operation::Read, 0, bytes, 512, list);
    let at = |address, length| Element { address, length };
    let unaligned = |address, length| Err(Error::Unaligned { address, length });
    assert_eq!(new(512, &[at(4, 512)]), unaligned(4, 512));
    assert_eq!(new(1024, &[at(512, 100), at(4096, 924)]), unaligned(512, 100));
    assert_eq!(new(700, &[at(0, 4096)]), unaligned(0, 4096));
    assert_eq!(new(1024, &[at(0, 512)]), Err(Error::ListTooShort { expected: 1024, found: 512 }));
    assert_eq!(new(0, &[at(0, 512)]), Err(Error::ListTooShort { expected: 1, found: 0 }));
    // What the transfer does not use does not matter.
    assert!(new(512, &[at(0, 1000), at(3, 3)]).is_ok());
    assert!(new(1024, &[at(0, 512), at(4096, 0), at(1024, 512)]).is_ok());
}

#[test]
fn what_does_not_fit_the_disk_is_refused_as_a_whole() {
    let mut setup = setup(&[]);
    let list = vec![setup.element(&[], 0, 4096); 20];
    let mut transfer = Transfer::new(1, Operation::Write, SECTORS - 159, 20 * 4096, 512, &list[..]).unwrap();
    let range = Error::Range { sector: SECTORS - 159, count: 160, sectors: SECTORS };
    assert_eq!(transfer.submit(&mut setup.frontend, Memory::Pages(&list[..])), Err(range));
    assert_eq!(setup.frontend.in_flight(), 0);

    let mut setup = self::setup(&[("sector-size", "4096")]);
    let list = vec![setup.element(&[], 0, 4096); 20];
    let mut transfer = Transfer::new(1, Operation::Write, 8, 19 * 4096 + 512, 512, &list[..]).unwrap();
    let block = Error::Block { sector: 8, count: 19 * 8 + 1, block: 4096 };
    assert_eq!(transfer.submit(&mut setup.frontend, Memory::Pages(&list[..])), Err(block));
    assert_eq!(setup.frontend.in_flight(), 0);
}

#[test]
fn requests_are_whole_logical_blocks() {
    let mut setup = setup(&[("sector-size", "2048")]);
    // Starts in the middle of a page, as an aligned buffer may.
    let list: Vec<Element> = (0..24u8)
        .map(|n| {
            setup.element(&[n; 4096], if n == 0 { 2048 } else { 0 }, if n % 23 == 0 { 2048 } else { 4096 })
        })
        .collect();
    let bytes = 23 * 4096;
    // Of blocks of a page, the first segment would be a half, which no backend takes.
    let address = list[0].address;
    let unaligned = Err(Error::Unaligned { address, length: 2048 });
    assert_eq!(Transfer::new(1, Operation::Write, 16, bytes, 4096, &list[..]), unaligned);
    let mut transfer = Transfer::new(1, Operation::Write, 16, bytes, 2048, &list[..]).unwrap();
    let (outcome, requests) = setup.finish(&mut transfer, &list);
    assert_eq!((outcome, requests), (DONE, 3));
    let written = &setup.backend.sectors()[16 * 512..][..bytes as usize];
    let expected: Vec<u8> =
        list.iter().enumerate().flat_map(|(n, e)| vec![n as u8; e.length as usize]).collect();
    assert_eq!(written, expected);
}

#[test]
fn a_full_ring_makes_it_partial() {
    let mut setup = setup(&[]);
    let list = vec![setup.element(&[], 0, 4096); 11 * 3];
    for tag in 0..SLOTS - 1 {
        Transfer::flush(tag).submit(&mut setup.frontend, Memory::<[Element]>::None).unwrap();
    }
    let mut transfer = Transfer::new(99, Operation::Read, 0, 33 * 4096, 512, &list[..]).unwrap();
    assert_eq!(transfer.submit(&mut setup.frontend, Memory::Pages(&list[..])), Ok(Progress::Partial));
    assert_eq!(transfer.submit(&mut setup.frontend, Memory::Pages(&list[..])), Ok(Progress::Partial));
    assert!(transfer.is_partial());
    setup.frontend.push();
    setup.backend.run();
    let mut own = 0;
    while let Some(completion) = setup.frontend.poll() {
        if completion.tag == 99 {
            own += 1;
            assert_eq!(transfer.complete(&completion), None);
        }
    }
    assert_eq!(own, 1);
    assert_eq!(transfer.submit(&mut setup.frontend, Memory::Pages(&list[..])), Ok(Progress::Whole));
    assert_eq!(setup.finish(&mut transfer, &list), (DONE, 2));
}

#[test]
fn a_copied_transfer_of_no_bytes_sends_nothing() {
    let mut setup = setup(&[]);
    let mut transfer = Transfer::copied(1, Operation::Read, 0, 0);
    assert_eq!(transfer.submit(&mut setup.frontend, Memory::<[Element]>::None), Ok(Progress::Partial));
    assert_eq!(setup.frontend.in_flight(), 0);
}

#[test]
fn a_failed_part_fails_the_whole_after_the_last_part() {
    let mut setup = setup(&[]);
    let list = vec![setup.element(&[], 0, 4096); 22];
    let mut transfer = Transfer::new(1, Operation::Read, 0, 22 * 4096, 512, &list[..]).unwrap();
    assert_eq!(transfer.submit(&mut setup.frontend, Memory::Pages(&list[..])), Ok(Progress::Whole));
    setup.frontend.push();
    setup.backend.fetch();
    setup.backend.respond(&crate::wire::blkif::Response {
        id: 0,
        operation: 0,
        status: -1,
        ..Default::default()
    });
    let failed = setup.frontend.poll().unwrap();
    assert_eq!(transfer.complete(&failed), None);
    setup.backend.answer(1);
    let passed = setup.frontend.poll().unwrap();
    assert_eq!(passed.result, Ok(()));
    assert_eq!(transfer.complete(&passed).unwrap().result, Err(Failure::Backend));
}

#[test]
fn a_failed_part_stops_the_rest() {
    let mut setup = setup(&[]);
    let list = vec![setup.element(&[], 0, 4096); 22];
    for tag in 0..SLOTS - 1 {
        Transfer::flush(tag).submit(&mut setup.frontend, Memory::<[Element]>::None).unwrap();
    }
    let mut transfer = Transfer::new(99, Operation::Read, 0, 22 * 4096, 512, &list[..]).unwrap();
    assert_eq!(transfer.submit(&mut setup.frontend, Memory::Pages(&list[..])), Ok(Progress::Partial));
    setup.frontend.push();
    setup.backend.fetch();
    setup.backend.claim(1000);
    let outcome = loop {
        let completion = setup.frontend.poll().unwrap();
        if completion.tag == 99 {
            break transfer.complete(&completion);
        }
    };
    let broken = Outcome { result: Err(Failure::Broken), pages_held: false };
    assert_eq!(outcome, Some(broken));
    let fault = Fault::Overrun(ring::Overrun { responses: 1000, outstanding: 32 });
    assert_eq!(setup.frontend.fault(), Some(fault));
    assert!(!transfer.is_partial());
}

#[test]
fn a_part_that_cannot_be_sent_becomes_the_outcome() {
    let mut setup = setup(&[]);
    let list = vec![setup.element(&[], 0, 4096); 22];
    let mut transfer = Transfer::new(1, Operation::Read, 0, 22 * 4096, 512, &list[..]).unwrap();
    // The list ends early: only the first part can be sent.
    assert_eq!(transfer.submit(&mut setup.frontend, Memory::Pages(&list[..11])), Ok(Progress::Whole));
    setup.frontend.push();
    setup.backend.run();
    let completion = setup.frontend.poll().unwrap();
    assert_eq!(transfer.complete(&completion).unwrap().result, Err(Failure::Unsent));
}

#[test]
fn pages_kept_are_reported_with_the_outcome() {
    let mut setup = setup(&[]);
    let list = vec![setup.element(&[], 0, 4096); 12];
    let mut transfer = Transfer::new(1, Operation::Read, 0, 12 * 4096, 512, &list[..]).unwrap();
    setup.backend.hold_pages = true;
    let (outcome, _) = setup.finish(&mut transfer, &list);
    assert!(outcome.pages_held && matches!(outcome.result, Err(Failure::Broken)));
}

#[test]
fn used_up_grants_make_it_partial() {
    // The ring's, those of the pool's reserve, and 16 for requests.
    let mut setup = setup_in(World::with_grants(8 + 1 + 11 + 16), &[]);
    let list = vec![setup.element(&[], 0, 4096); 11];
    let transfer = |tag| Transfer::new(tag, Operation::Read, 0, 11 * 4096, 512, &list[..]).unwrap();
    let (mut first, mut second) = (transfer(1), transfer(2));
    assert_eq!(first.submit(&mut setup.frontend, Memory::Pages(&list[..])), Ok(Progress::Whole));
    assert_eq!(second.submit(&mut setup.frontend, Memory::Pages(&list[..])), Ok(Progress::Partial));
    assert_eq!(setup.frontend.in_flight(), 1);
    assert_eq!(setup.finish(&mut first, &list), (DONE, 1));
    assert_eq!(setup.finish(&mut second, &list), (DONE, 1));
}

/// Returns aligned elements in pages that follow each other or not.
fn elements() -> impl Strategy<Value = Vec<(u64, u32)>> {
    prop::collection::vec((0u64..8, 0u32..9), 1..40)
}

proptest! {
    /// Whatever the list and the block: what is written to the disk is the memory's bytes in their order, and
    /// reading brings them back.
    #[test]
    fn transfers_are_exact(
        shape in elements(),
        block in prop::sample::select(vec![512u32, 1024, 2048, 4096]),
        cut in 0u64..8,
    ) {
        let mut setup = setup(&[("sector-size", &std::format!("{block}"))]);
        let mut list = Vec::new();
        let mut bytes = Vec::new();
        for (number, (first, sectors)) in shape.into_iter().enumerate() {
            // Pieces of whole blocks; others are copied.
            let unit = block / 512;
            let (first, sectors) = (first / u64::from(unit) * u64::from(unit), sectors / unit * unit);
            let length = (sectors * 512).min(4096 - first as u32 * 512);
            let content: Vec<u8> = (0..8).flat_map(|n| [(n + number * 11) as u8; 512]).collect();
            list.push(setup.element(&content, first * 512, length));
            bytes.extend(&content[first as usize * 512..][..length as usize]);
        }
        // Whole blocks, not always the whole list.
        let length = (bytes.len() as u64 / u64::from(block)).saturating_sub(cut) * u64::from(block);
        prop_assume!(length > 0);
        bytes.truncate(length as usize);
        let mut out = Transfer::new(1, Operation::Write, 64, length, block, &list[..]).unwrap();
        let (outcome, requests) = setup.finish(&mut out, &list);
        prop_assert_eq!(outcome, DONE);
        prop_assert!(requests <= list.len());
        prop_assert_eq!(&setup.backend.sectors()[64 * 512..][..bytes.len()], &bytes[..]);
        let rest = &setup.backend.sectors()[64 * 512 + bytes.len()..];
        prop_assert!(rest.iter().all(|byte| *byte == 0));

        let target = vec![setup.element(&[0; 4096], 0, 4096); 1];
        let mut list = target;
        while (list.len() as u64) * 4096 < length {
            list.push(setup.element(&[0; 4096], 0, 4096));
        }
        let mut back = Transfer::new(2, Operation::Read, 64, length, block, &list[..]).unwrap();
        prop_assert_eq!(setup.finish(&mut back, &list).0, DONE);
        let pages = list.iter().map(|element| setup.world.content(Frame(element.address / 4096)));
        let mut found: Vec<u8> = pages.flatten().collect();
        found.truncate(length as usize);
        prop_assert_eq!(found, bytes);
    }

    /// An element over several pages is one segment for each page.
    #[test]
    fn elements_are_cut_at_pages(address in 0u64..64, sectors in 1u32..200) {
        let list = [Element { address: address * 512, length: sectors * 512 }];
        let mut at = cursor::Cursor::START;
        let mut next = address;
        let mut left = u64::from(sectors) * 512;
        while left > 0 {
            let cut = at.cut(&list[..], left, 512, 11);
            prop_assert!(cut.bytes > 0);
            let mut segments = at.segments(&list[..], cut.bytes);
            for _ in 0..cut.segments {
                let (frame, run) = segments.hand_out().unwrap();
                prop_assert_eq!((u64::from(frame), u64::from(run.first())), (next / 8, next % 8));
                prop_assert!(run.last() < 8);
                next += u64::from(run.last() - run.first()) + 1;
            }
            prop_assert!(segments.hand_out().is_none());
            left -= cut.bytes;
            at = cut.end;
        }
        prop_assert_eq!(next, address + u64::from(sectors));
    }
}
