//! Instructions of the block frontend for a request, counted by callgrind on this machine: no guest, no
//! emulation.

use std::{collections::HashSet, fmt::Write, fs, path::Path, process::Command};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::plot::Panel;
use crate::{command, layout::Layout, setup, step::step};

/// Ways in which the pages of a request reach the backend.
const WAYS: [&str; 2] = ["direct", "persistent"];
/// Pages of a request, one in flight.
const PAGES: [usize; 9] = [1, 2, 4, 8, 11, 16, 64, 128, 256];
/// Requests in flight, each of one page.
const DEPTHS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Rounds that are counted.
const ROUNDS: usize = 64;
/// Rounds of each thread.
const THREAD_ROUNDS: &str = "100000";

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Index into the ways.
    way: usize,
    pages: usize,
    depth: usize,
    /// Instructions for a request.
    pub instructions: f64,
}

/// Builds the program and counts.
///
/// # Errors
/// It does not build, or valgrind is not there and cannot be installed.
pub(super) fn measure(layout: &Layout) -> Result<Vec<Point>> {
    setup::benchmark()?;
    step("build the frontend's benchmark", || {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--release", "--package", "bench-blkif"]).current_dir(layout.root());
        command::run(&mut cargo)
    })?;
    let program = layout.target().join("release/bench-blkif");
    let folder = layout.target().join("bench");
    fs::create_dir_all(&folder)?;
    step("instructions of the frontend", || {
        let mut points = Vec::new();
        for (way, name) in WAYS.iter().enumerate() {
            let shapes =
                PAGES.map(|pages| (pages, 1)).into_iter().chain(DEPTHS[1..].iter().map(|&depth| (1, depth)));
            for (pages, depth) in shapes {
                let instructions = count(&program, &folder, name, pages, depth)?;
                points.push(Point { way, pages, depth, instructions });
            }
        }
        Ok(points)
    })
}

/// Returns how many times the requests of one queue two queues have, each on a thread of its own.
///
/// # Errors
/// The program failed.
pub(super) fn two_queues(layout: &Layout) -> Result<f64> {
    let program = layout.target().join("release/bench-blkif");
    step("two queues on two threads", || {
        let gain = command::output(Command::new(program).args(["threads", THREAD_ROUNDS]))?;
        gain.trim().parse().context("the gain")
    })
}

fn count(program: &Path, folder: &Path, way: &str, pages: usize, depth: usize) -> Result<f64> {
    let file = folder.join("callgrind.out");
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
        .args(["--toggle-collect=*frontend_submits*", "--toggle-collect=*frontend_takes*"])
        // Entered while it collects: off, and on again behind it.
        .arg("--toggle-collect=*fake*notify*")
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args([way, &pages.to_string(), &depth.to_string(), &ROUNDS.to_string()]);
    let requests: f64 = command::output(&mut valgrind)?.trim().parse().context("the number of requests")?;
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(total(&text).with_context(|| format!("callgrind counted nothing: {}", file.display()))? / requests)
}

/// Folder of the benchmark, whose own lines are none of the frontend's.
const BENCHMARK: &str = "/tests/bench/";

/// Returns the sum of a callgrind file, without the lines of the benchmark; `None` if nothing was collected.
///
/// A line of costs belongs to the source file that was named last. What follows a line `calls=` is the sum of what was
/// called, which has lines of its own. A file has its name where it is named first, and is a number from there on.
fn total(text: &str) -> Option<f64> {
    let mut benchmark = HashSet::new();
    let (mut counted, mut called, mut sum) = (false, false, 0);
    for line in text.lines() {
        if let Some((key, value)) = line.split_once('=') {
            let (number, name) = value.split_once(' ').unwrap_or((value, ""));
            let names_file = ["fl", "fi", "fe", "cfi", "cfl"].contains(&key);
            if names_file && name.contains(BENCHMARK) {
                benchmark.insert(number);
            }
            if names_file && !key.starts_with('c') {
                counted = !benchmark.contains(number);
            }
            called = key == "calls";
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost: u64 = line.split_once(' ')?.1.trim().parse().ok()?;
            sum += if counted && !called { cost } else { 0 };
            called = false;
        }
    }
    (sum > 0).then_some(sum as f64)
}

fn at(points: &[Point], way: usize, pages: usize, depth: usize) -> Option<f64> {
    let point = points.iter().find(|point| (point.way, point.pages, point.depth) == (way, pages, depth));
    point.map(|point| point.instructions)
}

/// Panels for a plot: over the pages of a request, and over the depth.
pub(super) fn panels(points: &[Point]) -> Vec<Panel> {
    let panel = |title: &str, groups: &[usize], get: &dyn Fn(usize, usize) -> Option<f64>| Panel {
        title: title.to_owned(),
        groups: groups.iter().map(usize::to_string).collect(),
        series: WAYS
            .iter()
            .enumerate()
            .map(|(way, name)| ((*name).to_owned(), groups.iter().map(|&group| get(way, group)).collect()))
            .collect(),
    };
    vec![
        panel("instructions for a request, by its pages (depth 1)", &PAGES, &|way, pages| {
            at(points, way, pages, 1)
        }),
        panel("instructions for a request of one page, by queue depth", &DEPTHS, &|way, depth| {
            at(points, way, 1, depth)
        }),
    ]
}

/// The work that no frontend can do without, and why another's is not counted.
const FLOOR: &str = "\
    The floor, for a direct request of one page: five words of eight bytes are written for the backend (three of the\n\
    request, one of its segment, one grant entry), an index is published behind a barrier, an index and two words come\n\
    back, and one compare-exchange ends the grant. A further page is two words and a compare-exchange; a persistent one is\n\
    one word. What is beyond that is the frontend's own: the walk along the scatter-gather list, a private record of each\n\
    page, the checks of a response, the lists of what is free.\n\n\
    It was 449 instructions for a direct request of one page and 476 for a persistent one, and came to 372 and 343 by these\n\
    means: the list of free grant references is an array whose length the compiler knows; the ring's first page is a field\n\
    apart; the pages of a copied request are a chain that moves whole between it and the free ones; a good response, and a\n\
    transfer whose segments are in one slot, have ways of their own.\n\n\
    Linux's xen-blkfront is not counted so. It runs in its kernel only, between the block layer and the grants, and no\n\
    program can call it. The CPU time for a request, above, has both frontends, each with its system.\n";

/// Returns the page's section.
pub(super) fn section(points: &[Point], gain: f64) -> String {
    let mut out = String::from(
        "## Instructions of the block frontend\n\nCounted by callgrind on the host: `tests/bench/blkif` drives the frontend of the crate \
         `xen` against its fake backend, with a ring of 16 pages and requests of up to 256 segments. Counted is what runs \
         below submitting, publishing and taking responses: cutting a transfer into ring requests, granting, the ring, \
         checking responses, ending grants; not the backend, and not Windows' part. Left out are the lines of the benchmark \
         itself, which stand for those of a driver, and the fake's notification, which stands for a hypercall. `direct` grants the request's own pages \
         each time; `persistent` has its pages granted for good and the data copied by the caller.\n\n\
         ![instructions](performance-core.svg)\n\n",
    );
    let mut table = |what: &str, groups: &[usize], get: &dyn Fn(usize, usize) -> Option<f64>| {
        let _ = write!(out, "| {what} | direct | persistent |\n|---:|---:|---:|\n");
        for &group in groups {
            let cell = |way| get(way, group).map_or_else(|| "–".to_owned(), |value| format!("{value:.0}"));
            let _ = writeln!(out, "| {group} | {} | {} |", cell(0), cell(1));
        }
        out.push('\n');
    };
    table("pages of a request", &PAGES, &|way, pages| at(points, way, pages, 1));
    table("requests of one page in flight", &DEPTHS, &|way, depth| at(points, way, 1, depth));
    let slope = |way| Some((at(points, way, 256, 1)? - at(points, way, 128, 1)?) / 128.0);
    if let (Some(direct), Some(persistent)) = (slope(0), slope(1)) {
        let _ = writeln!(
            out,
            "From 128 to 256 pages each page costs {direct:.0} instructions direct and {persistent:.0} persistent: growth with the pages is linear.\n"
        );
    }
    let _ = writeln!(
        out,
        "Two queues, each on a thread of its own and with one grant table behind them, have {gain:.2} times the requests of \
         one in the same time: the median of nine turns of one queue alone and of two (`bench-blkif threads {THREAD_ROUNDS}`). Where \
         they share nothing that is written, and each thread has a core, it is twice.\n"
    );
    out + FLOOR
}

/// Returns it for the JSON file.
pub(super) fn json(points: &[Point]) -> Value {
    points
        .iter()
        .map(|point| {
            let Point { way, pages, depth, instructions } = *point;
            json!({ "way": WAYS[way], "pages": pages, "depth": depth, "instructions_per_request": instructions })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The benchmark calls a function of the frontend's, into which a line of the benchmark is inlined.
    const COUNTED: &str = "\
        version: 1\ncmd: bench-blkif direct 1 1 64\npositions: line\nevents: Ir\nsummary: 1111\n\n\
        fl=(1) /x/tests/bench/blkif/src/main.rs\nfn=(1) frontend_submits\n92 1000\n\
        cfi=(2) /x/xen/src/ring/mod.rs\ncfn=(2) push\ncalls=1 117\n+2 111\n\
        fi=(3) /x/xen/src/blkif/pool.rs\n-1 10\nfe=(1)\n* 1000\n\n\
        fl=(2)\nfn=(2)\n117 100\nfi=(1)\n92 7\nfe=(2)\n118 3\n\ntotals: 2120\n";

    #[test]
    fn the_benchmarks_lines_and_the_sums_of_calls_do_not_count() {
        assert_eq!(total(COUNTED), Some(113.0));
    }

    #[test]
    fn a_file_without_costs_is_none() {
        assert_eq!(total("events: Ir\ntotals: 0\n"), None);
        assert_eq!(total("fl=(1) /x/tests/bench/blkif/src/main.rs\nfn=(1) x\n5 10\n"), None);
    }

    #[test]
    fn the_section_has_every_measurement() {
        let mut points = vec![];
        for way in 0..2 {
            points.extend(PAGES.map(|pages| Point {
                way,
                pages,
                depth: 1,
                instructions: 100.0 + 10.0 * pages as f64,
            }));
            points.extend(DEPTHS[1..].iter().map(|&depth| Point {
                way,
                pages: 1,
                depth,
                instructions: 77.0,
            }));
        }
        let text = section(&points, 1.97);
        assert!(text.contains("| 256 | 2660 | 2660 |") && text.contains("| 64 | 77 | 77 |"), "{text}");
        assert!(text.contains("each page costs 10 instructions"));
        assert!(!text.contains('–'));
        assert_eq!(panels(&points).len(), 2);
    }
}
