//! Process 1 of the Linux guest.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use bench::line::{TRACE_KIND, TRACED_KIND};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot};

use crate::Plan;

/// The disk, by xen-blkfront's name for the first.
const DISK: &str = "/dev/xvda";
const QUEUE: &str = "/sys/block/xvda/queue";
/// Hardware queues of the disk: of xen-blkfront, each a ring of its own.
const HARDWARE_QUEUES: &str = "/sys/block/xvda/mq";
/// Paths of the modules in the initial file system, in the order in which they are loaded.
const MODULES: &str = "/modules/order";
/// Time that blkfront may take to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// The debug port that Xen prints, as an offset in /dev/port.
const DEBUG_PORT: u64 = 0xE9;

/// Runs the benchmark and powers the guest off.
pub(crate) fn main() -> ! {
    if let Err(error) = run() {
        say(&format!("bench-failed why={}", error.to_string().replace(' ', "%20")));
    }
    say("end verdict=clean");
    // Nothing of this guest's needs saving.
    let _ = reboot(RebootCommand::PowerOff);
    loop {
        sleep(Duration::from_secs(1));
    }
}

fn run() -> io::Result<()> {
    for (kind, place) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        fs::create_dir_all(place)?;
        mount(kind, place, kind, MountFlags::empty(), None)?;
    }
    let order = fs::read_to_string(MODULES)?;
    for module in order.lines() {
        let file = File::open(Path::new("/modules").join(module))?;
        // Else privcmd serves no calls but those of a device model.
        let parameters = if module == "xen-privcmd.ko" { c"unrestricted=1" } else { c"" };
        finit_module(&file, parameters, 0).map_err(|error| io::Error::other(format!("{module}: {error}")))?;
    }
    let mut waited = Duration::ZERO;
    while !Path::new(DISK).exists() {
        if waited > CONNECT_LIMIT {
            return Err(io::Error::other(format!("there is no {DISK}")));
        }
        sleep(Duration::from_millis(50));
        waited += Duration::from_millis(50);
    }
    // The cheapest way through the block layer.
    fs::write(Path::new(QUEUE).join("scheduler"), "none")?;
    let queue =
        |name: &str| fs::read_to_string(Path::new(QUEUE).join(name)).unwrap_or_default().trim().to_owned();
    say(&format!(
        "linux release={} queues={} max_segments={} max_sectors_kb={} nr_requests={}",
        fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
        fs::read_dir(HARDWARE_QUEUES)?.count(),
        queue("max_segments"),
        queue("max_sectors_kb"),
        queue("nr_requests"),
    ));
    let command_line = fs::read_to_string("/proc/cmdline")?;
    let word = |name: &str| -> io::Result<u64> {
        let value =
            command_line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no {name}=<number> on the command line")))
    };
    let plan = Plan {
        runs: u32::try_from(word("bench.runs")?).map_err(io::Error::other)?,
        milliseconds: word("bench.ms")?,
        threads: word("bench.threads")?,
        stamp: word("bench.stamp")?,
    };
    plan.timed(Path::new(DISK), &mut |line| say(&line.to_string()))?;
    if plan.threads > 1 {
        // The marks of a run would be in one processor's part of the trace.
        return Ok(());
    }
    say(TRACE_KIND);
    sleep(Duration::from_millis(word("bench.pause")?));
    plan.traced(Path::new(DISK), &mut |line| say(&line.to_string()))?;
    say(TRACED_KIND);
    sleep(Duration::from_millis(word("bench.pause")?));
    Ok(())
}

/// Prints a line on Xen's console.
fn say(text: &str) {
    let print = || -> io::Result<()> {
        let port = File::options().write(true).open("/dev/port")?;
        for byte in format!("@xg {text}\n").bytes() {
            // A byte at a time: what follows would go to the next port.
            port.write_all_at(&[byte], DEBUG_PORT)?;
        }
        Ok(())
    };
    if let Err(error) = print() {
        // The first serial port; before devtmpfs is there, nowhere.
        let _ = writeln!(io::stderr(), "{text} ({error})");
    }
}
