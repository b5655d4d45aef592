//! Results of the contenders: runs of each workload, their medians, and the counts in Xen's trace.

use anyhow::{Context, Result, bail, ensure};
use bench::{ALL, Workload};
use rig::Report;
use serde_json::{Value, json};

use super::{
    contender::Contender,
    lines::{number, workload},
};

/// One timed run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// Bytes a second.
    pub rate: f64,
    /// Nanoseconds that the guest's processor ran, for each request.
    pub cpu: f64,
}

/// Counts during the traced run, each for 1,000 requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Counts {
    /// VM exits.
    pub exits: f64,
    /// Hypercalls on event channels.
    pub events: f64,
    /// Hypercalls on the grant table.
    pub grants: f64,
    /// Interrupts given to the guest.
    pub interrupts: f64,
}

/// A contender's results for one workload.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// The workload.
    pub workload: &'static Workload,
    /// Every timed run.
    pub samples: Vec<Sample>,
    /// The traced run, if it was complete.
    pub counts: Option<Counts>,
}

/// Returns the middle of an odd number of values, the mean of the two in the middle of an even one; `None` of
/// none.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

impl Row {
    /// Returns the bytes a second: the median.
    pub(super) fn rate(&self) -> Option<f64> {
        median(self.samples.iter().map(|sample| sample.rate))
    }

    /// Returns CPU nanoseconds for each request: the median.
    pub(super) fn cpu(&self) -> Option<f64> {
        median(self.samples.iter().map(|sample| sample.cpu))
    }

    /// Returns the spread of the single runs' rates: (largest − smallest) / median.
    pub(super) fn spread(&self) -> Option<f64> {
        let rates = || self.samples.iter().map(|sample| sample.rate);
        let (low, high) = (rates().reduce(f64::min)?, rates().reduce(f64::max)?);
        Some((high - low) / self.rate()?)
    }
}

/// A contender's results.
#[derive(Clone, Debug)]
pub(super) struct Results {
    /// Whose.
    pub contender: Contender,
    /// One row for each workload, in the order of [`ALL`].
    pub rows: Vec<Row>,
    /// Calls that drivers made into the guard during the timed runs, where there is a guard, and the
    /// requests of these.
    pub guard_calls: Option<(u64, u64)>,
}

impl Results {
    /// Reads a report; every workload must have been run `runs` times without an error.
    pub(super) fn read(contender: Contender, report: &Report, runs: u32) -> Result<Self> {
        if let Some(line) = report.first("bench-failed") {
            bail!("{}: {}", contender.name(), line.text);
        }
        let mut rows: Vec<Row> =
            ALL.iter().map(|workload| Row { workload, samples: Vec::new(), counts: None }).collect();
        let mut traced = vec![0; ALL.len()];
        let mut guard_calls = None;
        for line in report.all(bench::line::KIND) {
            let workload = workload(line)?;
            let at = ALL.iter().position(|other| other == workload).context("a workload of the list")?;
            let (requests, elapsed) = (number(line, "requests")?, number(line, "elapsed_ns")?);
            ensure!(
                number(line, "errors")? == 0 && requests > 0 && elapsed > 0,
                "{}: `{}`: requests failed or brought wrong data",
                contender.name(),
                line.text
            );
            if line.is("run", "warm") {
                continue;
            }
            if line.is("run", "traced") {
                traced[at] = requests;
                continue;
            }
            if let Some(calls) = line.number("guard_calls") {
                let (before, earlier) = guard_calls.unwrap_or_default();
                guard_calls = Some((before + calls, earlier + requests));
            }
            rows[at].samples.push(Sample {
                rate: requests as f64 * f64::from(workload.bytes) / (elapsed as f64 / 1e9),
                cpu: number(line, "busy_ns")? as f64 / requests as f64,
            });
        }
        for row in &rows {
            ensure!(
                row.samples.len() == runs as usize,
                "{}: {} runs of {}, expected {runs}",
                contender.name(),
                row.samples.len(),
                row.workload.name
            );
        }
        for line in report.all("bench-counts") {
            let workload = workload(line)?;
            let at = ALL.iter().position(|other| other == workload).context("a workload of the list")?;
            if line.is("lost", "1") || traced[at] == 0 {
                continue;
            }
            let each = |key| Ok::<_, anyhow::Error>(number(line, key)? as f64 * 1000.0 / traced[at] as f64);
            rows[at].counts = Some(Counts {
                exits: each("exits")?,
                events: each("events")?,
                grants: each("grants")?,
                interrupts: each("interrupts")?,
            });
        }
        Ok(Self { contender, rows, guard_calls })
    }

    /// Adds the results of another round.
    pub(super) fn add(&mut self, other: Self) {
        for (row, more) in self.rows.iter_mut().zip(other.rows) {
            row.samples.extend(more.samples);
            row.counts = row.counts.or(more.counts);
        }
        self.guard_calls = match (self.guard_calls, other.guard_calls) {
            (Some((calls, requests)), Some((more, others))) => Some((calls + more, requests + others)),
            (before, more) => before.or(more),
        };
    }

    /// Returns the row of a workload.
    pub(super) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.workload.name == name)
    }

    /// Returns everything, for the JSON file.
    pub(super) fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let of = |value: fn(&Sample) -> f64| row.samples.iter().map(value).collect::<Vec<_>>();
                json!({
                    "workload": row.workload.name,
                    "bytes_per_second": { "median": row.rate(), "runs": of(|sample| sample.rate) },
                    "cpu_ns_per_request": { "median": row.cpu(), "runs": of(|sample| sample.cpu) },
                    "per_1000_requests": row.counts.map(|counts| json!({
                        "vm_exits": counts.exits,
                        "event_channel_hypercalls": counts.events,
                        "grant_table_hypercalls": counts.grants,
                        "interrupts": counts.interrupts,
                    })),
                })
            })
            .collect();
        json!({
            "contender": self.contender.name(),
            "guard_calls": self.guard_calls.map(|(calls, _)| calls),
            "workloads": rows,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns a report of two runs of each workload, the second twice as fast, and of a traced one.
    pub(crate) fn report(factor: u64) -> Report {
        let mut lines = Vec::new();
        for workload in &ALL {
            lines.push(format!(
                "@xg bench workload={} run=warm requests=1 errors=0 elapsed_ns=1 busy_ns=1 waiting_ns=0",
                workload.name
            ));
            for run in 0..2 {
                lines.push(format!(
                    "@xg bench workload={} run={run} requests={} errors=0 elapsed_ns=1000000000 busy_ns=600000 waiting_ns=0 guard_calls=0",
                    workload.name,
                    100 * factor * (run + 1),
                ));
            }
            lines.push(format!(
                "@xg bench workload={} run=traced requests=50 errors=0 elapsed_ns=1 busy_ns=0 waiting_ns=0",
                workload.name
            ));
            lines.push(format!(
                "@xg bench-counts workload={} exits=200 events=50 grants=0 interrupts=25 lost=0",
                workload.name
            ));
        }
        Report::parse(lines.iter().map(String::as_str))
    }

    #[test]
    fn medians() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn rates_costs_and_counts_are_per_request() {
        let results = Results::read(Contender::Xenvbd, &report(1), 2).expect("whole");
        let row = results.row("seq-64k-read").expect("there");
        assert_eq!(row.rate(), Some(150.0 * 65536.0));
        assert_eq!(row.cpu(), Some(4500.0));
        assert_eq!(row.spread(), Some(100.0 / 150.0));
        let counts = Counts { exits: 4000.0, events: 1000.0, grants: 0.0, interrupts: 500.0 };
        assert_eq!(row.counts, Some(counts));
        assert_eq!(results.guard_calls, Some((0, 300 * ALL.len() as u64)));
        assert_eq!(results.json()["workloads"][0]["per_1000_requests"]["vm_exits"], 4000.0);
    }

    #[test]
    fn rounds_add_up() {
        let read = |factor| Results::read(Contender::Xenvbd, &report(factor), 2).expect("whole");
        let mut results = read(1);
        results.add(read(3));
        let row = results.row("seq-64k-read").expect("there");
        // 100 and 200 requests a second, and 300 and 600.
        assert_eq!((row.samples.len(), row.rate()), (4, Some(250.0 * 65536.0)));
        assert_eq!(results.guard_calls, Some((0, 1200 * ALL.len() as u64)));
    }

    #[test]
    fn missing_runs_failed_requests_and_lost_records_are_not_results() {
        assert!(Results::read(Contender::Ide, &report(1), 3).is_err());
        let failed =
            "@xg bench workload=seq-64k-read run=0 requests=5 errors=1 elapsed_ns=5 busy_ns=5 waiting_ns=0";
        let error = Results::read(Contender::Ide, &Report::parse([failed]), 1).expect_err("an error");
        assert!(error.to_string().contains("wrong data"), "{error}");
        let whole = report(1);
        let lost: Vec<String> = whole
            .lines()
            .iter()
            .map(|line| format!("@xg {} {}", line.kind, line.text.replace("lost=0", "lost=1")))
            .collect();
        let results = Results::read(Contender::Ide, &Report::parse(lost.iter().map(String::as_str)), 2);
        assert_eq!(results.expect("whole").rows[0].counts, None);
    }
}
