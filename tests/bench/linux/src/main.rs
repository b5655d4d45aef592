//! The benchmark under Linux, statically linked, one program for three uses:
//!
//! - as process 1 of a Linux guest it loads the modules of its initial file system, runs every workload on
//!   `/dev/xvda` through io_uring with O_DIRECT, a queue on each thread, and powers the guest off; a guest with one thread
//!   runs each once more for Xen's trace;
//! - `bench-linux disk <device> <runs> <milliseconds> <stamp>` runs every workload on a device, as dom0's
//!   yardstick;
//! - `bench-linux trace <file>` counts what Xen's trace holds.
//!
//! A guest reports on port 0xE9, which Xen prints, dom0 on its standard output, in the lines of the crate
//! `bench`.

mod guest;
mod hypervisor;
mod ring;
mod threads;
mod trace;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use bench::line::{Line, Pass};
use bench::{ALL, Engine, Spent, Task, Workload};

use crate::hypervisor::Hypervisor;
use crate::ring::Ring;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        guest::main();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["disk", device, runs, milliseconds, stamp] => {
            match (runs.parse(), milliseconds.parse(), stamp.parse()) {
                (Ok(runs), Ok(milliseconds), Ok(stamp)) => Plan { runs, milliseconds, threads: 1, stamp }
                    .timed(Path::new(device), &mut |line| println!("@xg {line}")),
                _ => Err(io::Error::other("runs, milliseconds and stamp are numbers")),
            }
        }
        ["trace", file] => trace::print(Path::new(file)),
        _ => Err(io::Error::other("expected: disk <device> <runs> <milliseconds> <stamp>, or: trace <file>")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-linux: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The workloads to run, and the length of each.
#[derive(Clone, Copy)]
struct Plan {
    runs: u32,
    milliseconds: u64,
    /// Threads, each on a processor and with a queue of its own.
    threads: u64,
    stamp: u64,
}

impl Plan {
    /// Returns a run of a workload.
    fn task(self, workload: &'static Workload, disk: u64) -> Task {
        Task::new(workload, disk, self.stamp, self.milliseconds * 1_000_000)
    }

    /// Runs every workload on a device, `runs` times.
    fn timed(self, device: &Path, say: &mut dyn FnMut(Line)) -> io::Result<()> {
        let opened = (0..self.threads).map(|_| Ring::open(device)).collect::<io::Result<Vec<_>>>()?;
        let (mut rings, sizes): (Vec<Ring>, Vec<u64>) = opened.into_iter().unzip();
        let disk = *sizes.first().ok_or_else(|| io::Error::other("a run without a thread"))?;
        let xen = Hypervisor::open()?;
        let times =
            || (0..self.threads).map(|processor| xen.run_state(processor)).collect::<io::Result<Vec<_>>>();
        threads::bind(0)?;
        // Round by round, so that a slow moment of the machine does not fall on one workload alone.
        for pass in Pass::measured(self.runs) {
            for workload in &ALL {
                let task = self.task(workload, disk);
                let before = times()?;
                let run = threads::drive(&mut rings, &task)?;
                let spent = Spent::of_all(&before, &times()?);
                say(Line { workload, pass, run, spent });
            }
        }
        Ok(())
    }

    /// Runs every workload once between marks in Xen's trace.
    fn traced(self, device: &Path, say: &mut dyn FnMut(Line)) -> io::Result<()> {
        let (mut ring, disk) = Ring::open(device)?;
        for (index, workload) in (0..).zip(&ALL) {
            let (begin, end) = bench::marks(index);
            let task = self.task(workload, disk);
            let before = ring.now();
            bench::mark(begin);
            let run = bench::drive(&mut ring, &task);
            bench::mark(end);
            let elapsed = ring.now() - before;
            let spent = Spent { elapsed, ..Spent::default() };
            say(Line { workload, pass: Pass::Traced, run, spent });
        }
        Ok(())
    }
}
