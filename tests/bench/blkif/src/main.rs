//! Drives the block frontend against a fake backend, so that callgrind can count the frontend's instructions:
//! `bench-blkif <direct|persistent> <pages of a request> <requests in flight> <rounds>`.
//!
//! Only what runs below [`frontend_submits`] and [`frontend_takes`] is the frontend's; callgrind is told to
//! collect there alone, and not in the fake's notification, which stands for a hypercall. The lines of this program
//! are left out of the sum. Each round fills the queue, publishes it at once, lets the backend answer everything,
//! and takes every response. Prints the number of requests.
//!
//! `bench-blkif threads <rounds>` prints how many times the requests of one queue two have, each on a thread of its own.

mod threads;

use std::hint::black_box;
use std::process::ExitCode;

use xen::blkif::{Config, Element, Frontend, Memory, Operation, Progress, Transfer};
use xen::fake::{Blkback, Hal, World};
use xen::{PAGE_SIZE, Port};

const PORT: Port = Port(7);
/// Bytes of the disk: every request reads from its start.
const DISK: u64 = 4 << 20;
/// Turns of one queue alone and of two.
const TURNS: usize = 9;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<usize>().ok());
    let way = arguments.first().map(String::as_str);
    if let (Some("threads"), Some(rounds @ 1..), 2) = (way, number(1), arguments.len()) {
        println!("{:.2}", threads::gain(rounds, TURNS));
        return ExitCode::SUCCESS;
    }
    match (way, number(1), number(2), number(3)) {
        (Some(way @ ("direct" | "persistent")), Some(pages @ 1..), Some(depth @ 1..), Some(rounds)) => {
            println!("{}", run(way == "persistent", pages, depth, rounds));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("expected: <direct|persistent> <pages of a request> <requests in flight> <rounds>");
            eprintln!("      or: threads <rounds>");
            ExitCode::FAILURE
        }
    }
}

fn run(persistent: bool, pages: usize, depth: usize, rounds: usize) -> usize {
    let world = World::new();
    let mut backend = Blkback::new(&world, "device/vbd/768", DISK / 512);
    for (node, value) in
        [("feature-max-indirect-segments", "256"), ("max-ring-page-order", "4"), ("feature-persistent", "1")]
    {
        backend.set(node, value);
    }
    let pool = if persistent { pages * depth } else { 1 };
    let config = Config {
        ring_order: 4,
        segments: 256,
        indirect: depth.try_into().unwrap_or(u16::MAX),
        pool: pool.try_into().unwrap_or(u16::MAX),
        persistent,
    };
    let mut frontend = backend.connect_frontend(config, &[PORT]).remove(0);
    let bytes = pages * PAGE_SIZE;
    let elements: Vec<Element> = (0..pages)
        .map(|_| Element { address: world.page_of(&[]).0 * PAGE_SIZE as u64, length: PAGE_SIZE as u32 })
        .collect();
    let mut transfers = Vec::with_capacity(depth);
    for _ in 0..rounds {
        transfers.clear();
        transfers.extend((0..depth).map(|tag| {
            if persistent {
                Transfer::copied(tag, Operation::Read, 0, bytes as u64)
            } else {
                Transfer::new(tag, Operation::Read, 0, bytes as u64, 512, elements.as_slice())
                    .expect("whole pages")
            }
        }));
        frontend_submits(&mut frontend, &mut transfers, &elements);
        backend.run();
        world.take_notified();
        let ended = frontend_takes(&mut frontend, &mut transfers);
        assert_eq!(ended, depth, "every request of a round comes back");
    }
    rounds * depth
}

/// Submits every transfer and publishes them.
#[inline(never)]
fn frontend_submits(frontend: &mut Frontend<Hal>, transfers: &mut [Transfer], elements: &[Element]) {
    for transfer in transfers {
        let memory = if frontend.config().persistent { Memory::None } else { Memory::Pages(elements) };
        let progress = transfer.submit(frontend, memory).expect("a sound request");
        assert_eq!(progress, Progress::Whole, "the queue is no deeper than the ring and the pool");
    }
    frontend.push();
}

/// Takes every response there is; answers how many transfers ended well.
#[inline(never)]
fn frontend_takes(frontend: &mut Frontend<Hal>, transfers: &mut [Transfer]) -> usize {
    let mut ended = 0;
    loop {
        while let Some(completion) = frontend.take(&mut |arrived| {
            black_box(&arrived);
        }) {
            if let Some(outcome) = transfers[completion.tag].complete(&completion) {
                assert!(outcome.result.is_ok(), "{outcome:?}");
                ended += 1;
            }
        }
        if !frontend.rearm() {
            return ended;
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_request_ends() {
        for persistent in [false, true] {
            for (pages, depth) in [(1, 1), (11, 3), (128, 2), (1, 32)] {
                assert_eq!(super::run(persistent, pages, depth, 3), 3 * depth);
            }
        }
    }
}
