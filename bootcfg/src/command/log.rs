//! `log`: the guard's record and the activity log, as the drivers of the running Windows keep them; or a volume's files.

use anyhow::{Context, Result};
use guard::{
    activity::{self, Utc},
    record::Record,
};
use serde_json::{Value, json};
use std::{fs::File, io, io::Read, path::Path, time::Duration};

use super::Outcome;
use crate::{
    bail_as,
    channel::{self, Channel},
    exit::{Exit, ExitError},
    guest_files,
    output::Tone,
    session::{self, Session},
};

/// Time in which a line comes that the drivers keep.
const KEPT: Duration = Duration::from_secs(1);
/// Largest number of bytes that are read of a file: idefilter begins a new one long before.
const LONGEST: u64 = 4 * activity::FILE_BYTES;
/// The folder of Windows, in the kernel's paths.
const SYSTEM_ROOT: &str = "\\SystemRoot\\";
/// Heading of the lines.
const LINES: &str = "The activity log (UTC); earlier lines are in %SystemRoot%\\Xenguard\\activity.log";
/// Advice where the drivers cannot be asked.
const FILES: &str = "lines of this boot and of earlier ones are in %SystemRoot%\\Xenguard\\activity.log";

pub(super) fn run(session: &mut Session, follow: bool) -> Outcome {
    let global = &session.global;
    if follow && (global.json || global.quiet) {
        bail_as!(Usage, "--follow prints lines as they come: leave --json and --quiet out");
    }
    if let Some(root) = global.root.clone() {
        if follow {
            bail_as!(Refused, "no more lines come on a volume that no Windows is using: leave --follow out");
        }
        return files(session, &root);
    }
    if global.boot_ini.is_some() || global.store.is_some() {
        bail_as!(
            Usage,
            "a boot configuration has no log: name the volume that Windows is on by --root DIR, or, in the running Windows, \
             nothing"
        );
    }
    if !cfg!(windows) {
        bail_as!(
            Usage,
            "say whose log: --root DIR where the guest's system volume is mounted. What the drivers keep in memory is read \
             in the running Windows, by `xenguard log`"
        );
    }
    let output = &session.output;
    let mut channel = opened(channel::open())?;
    let body = read(&mut *channel, follow, &mut |tone, line| {
        output.say(tone, line);
        output.is_written()
    })?;
    Ok((Exit::Done, body))
}

/// Returns the channel, or an error that says what to do.
fn opened(opened: io::Result<Option<Box<dyn Channel>>>) -> Result<Box<dyn Channel>> {
    match opened {
        Ok(Some(channel)) => Ok(channel),
        Ok(None) => bail_as!(
            Refused,
            "no device offers xenpci's channel: xenpci does not run. `xenguard verify` says how the drivers are; {FILES}"
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(error).context("xenpci's channel is for administrators: start xenguard as one")
        }
        Err(error) => Err(error).context(format!("xenpci's channel cannot be opened; {FILES}")),
    }
}

/// Returns what to tell of a request that failed.
fn failed(error: &io::Error) -> ExitError {
    if error.kind() == io::ErrorKind::Unsupported {
        return ExitError::new(
            Exit::Refused,
            format!(
                "xenpci.sys is of an earlier version than this program, and does not give the log: update the drivers by \
                 `xenguard install` and restart Windows; {FILES}"
            ),
        );
    }
    ExitError::new(
        Exit::Io,
        format!(
            "xenpci's channel does not answer, or is gone with its device ({error}): call `xenguard log` again when the \
             device is back; {FILES}"
        ),
    )
}

/// Reads the record and the lines, and goes on with lines to come where they are followed. Returns what `--json` shows.
/// `say` prints a line and returns false where nobody reads any more.
fn read(channel: &mut dyn Channel, follow: bool, say: &mut dyn FnMut(Tone, &str) -> bool) -> Result<Value> {
    let bytes = channel.record().map_err(|error| failed(&error))?;
    let Some(record) = Record::parse(&bytes) else {
        bail_as!(
            Refused,
            "the guard's record has a form that this program does not know: call the xenguard.exe of the drivers' package"
        );
    };
    let entries: Vec<_> = record.entries(0).collect();
    say(Tone::Strong, &heading(record.count(), entries.len()));
    for (_, entry) in &entries {
        say(Tone::Plain, &entry.to_string());
    }
    say(Tone::Strong, LINES);
    let (mut lines, mut lost, mut from) = (Vec::new(), 0, 1);
    while follow || lines.len() < activity::CAPACITY {
        let limit = (!follow).then_some(KEPT);
        let Some(next) = channel.line(from, limit).map_err(|error| failed(&error))? else { break };
        if next.lost > 0 {
            say(Tone::Attention, &format!("{} lines are lost", next.lost));
            lost += next.lost;
        }
        let line = next.line;
        if !say(Tone::Plain, &line.to_string()) {
            break;
        }
        from = line.number.saturating_add(1);
        if !follow {
            let time = Utc(line.time).to_string();
            lines.push(json!({ "number": line.number, "time": time, "text": line.text() }));
        }
    }
    let entries: Vec<_> = entries
        .iter()
        .map(|(number, entry)| json!({ "number": number, "time": entry.time, "text": entry.to_string() }))
        .collect();
    let record = json!({ "events": record.count(), "entries": entries });
    Ok(json!({ "record": record, "lines": lines, "lost": lost, "files": [] }))
}

/// Returns the heading of the record.
fn heading(events: u32, kept: usize) -> String {
    let name = "The guard's record (time since the start)";
    match (events, kept) {
        (0, _) => format!("{name}: no event"),
        (1, _) => format!("{name}: 1 event"),
        (events, kept) if events as usize == kept => format!("{name}: {events} events"),
        (events, kept) => format!("{name}: the last {kept} of {events} events"),
    }
}

/// Prints the files of the volume that is mounted at `root`.
fn files(session: &Session, root: &Path) -> Outcome {
    // The volume that Windows is on need not have the boot configuration.
    let read = session.place().and_then(|place| place.read());
    let entries = read.map(|read| read.configuration.menu().entries()).unwrap_or_default();
    let windows = session.folder_of(root, &entries, session::usual(&entries))?;
    let below = |path: &str| path.strip_prefix(SYSTEM_ROOT).unwrap_or(path).replace('\\', "/");
    let old = format!("{}\\{}", activity::FOLDER, activity::OLD_NAME);
    let mut files = Vec::new();
    for path in [old.as_str(), activity::FILE] {
        let Some(path) = guest_files::file(root, &format!("{windows}/{}", below(path)))? else { continue };
        let name = path.display().to_string();
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(LONGEST).read_to_end(&mut bytes))
            .with_context(|| format!("cannot read {name}"))?;
        let text = String::from_utf8_lossy(&bytes);
        session.output.say(Tone::Strong, &name);
        text.lines().for_each(|line| session.output.say(Tone::Plain, line));
        files.push(json!({ "file": name, "lines": text.lines().collect::<Vec<_>>() }));
    }
    if files.is_empty() {
        let none = format!("{windows} below {} has no activity log", root.display());
        session.output.say(Tone::Attention, &none);
    }
    Ok((Exit::Done, json!({ "record": null, "lines": [], "lost": 0, "files": files })))
}

#[cfg(test)]
mod tests {
    use guard::{
        activity::Ring,
        channel::LogLine,
        machine::{Action, Event},
        record,
    };

    use super::*;
    use crate::exit;

    /// A channel whose lines are those of a ring.
    struct Fake {
        record: Record,
        ring: Ring,
        /// Numbers of lines that come, one each time that the reader waits.
        coming: Vec<u64>,
        /// Error of the request behind them.
        end: Option<io::ErrorKind>,
        /// The driver knows the requests.
        known: bool,
    }

    impl Fake {
        fn new(lines: u64) -> Fake {
            let (mut record, ring) = (Record::new(), Ring::new());
            record.add(123_456_789, Event::Relations { bus: 0, seen: 1, hidden: 1 }, Action::Nothing);
            let fake = Fake { record, ring, coming: Vec::new(), end: None, known: true };
            (1..=lines).for_each(|line| fake.add(line));
            fake
        }

        fn add(&self, line: u64) {
            self.ring.add(132_223_104_000_000_000, format!("xenpci: line {line}").as_bytes());
        }
    }

    impl Channel for Fake {
        fn record(&mut self) -> io::Result<[u8; record::SIZE]> {
            if self.known { Ok(*self.record.as_bytes()) } else { Err(io::ErrorKind::Unsupported.into()) }
        }

        fn line(&mut self, from: u64, limit: Option<Duration>) -> io::Result<Option<LogLine>> {
            if let Some((line, lost)) = self.ring.from(from) {
                return Ok(Some(LogLine { line, lost }));
            }
            if limit.is_some() {
                return Ok(None);
            }
            if let Some(count) = self.coming.pop() {
                (0..count).for_each(|line| self.add(1000 + line));
                return self.line(from, limit);
            }
            Err(self.end.expect("an end of what is followed").into())
        }
    }

    /// Reads, and returns what was printed and what came of it.
    fn printed(fake: &mut Fake, follow: bool, room: usize) -> (Vec<String>, Result<Value>) {
        let mut lines = Vec::new();
        let result = read(fake, follow, &mut |_, line| {
            lines.push(line.to_owned());
            lines.len() < room
        });
        (lines, result)
    }

    #[test]
    fn the_record_and_the_lines_that_are_kept_are_printed() {
        let (lines, result) = printed(&mut Fake::new(2), false, usize::MAX);
        assert_eq!(
            lines,
            [
                "The guard's record (time since the start): 1 event",
                "12.345 s relations bus=0 seen=1 hidden=1: nothing",
                LINES,
                "2020-01-01T00:00:00.000Z 1 xenpci: line 1",
                "2020-01-01T00:00:00.000Z 2 xenpci: line 2",
            ]
        );
        let result = result.expect("read");
        assert_eq!((&result["record"]["events"], &result["lost"]), (&json!(1), &json!(0)));
        assert_eq!(
            result["lines"][1],
            json!({ "number": 2, "time": "2020-01-01T00:00:00.000Z", "text": "xenpci: line 2" })
        );
    }

    #[test]
    fn lost_lines_are_counted() {
        let mut fake = Fake::new(100);
        for bus in 0..100 {
            fake.record.add(0, Event::BusAttached { bus }, Action::Nothing);
        }
        let (lines, result) = printed(&mut fake, false, usize::MAX);
        let kept = lines.iter().filter(|line| line.contains("xenpci")).count();
        assert_eq!(lines[0], "The guard's record (time since the start): the last 64 of 101 events");
        let told: Vec<_> = lines.iter().filter_map(|line| line.strip_suffix(" lines are lost")).collect();
        let [told] = told[..] else { panic!("told once: {lines:?}") };
        assert_eq!(told.parse::<usize>().expect("a number") + kept, 100);
        let result = result.expect("read");
        assert_eq!(result["lost"], json!(100 - kept));
        assert_eq!(result["lines"].as_array().map(Vec::len), Some(kept));
    }

    #[test]
    fn a_reader_without_follow_comes_to_an_end() {
        let mut fake = Fake::new(0);
        assert_eq!(printed(&mut fake, false, usize::MAX).0.len(), 3);
        // Lines that come as fast as they are read.
        struct Endless(u64);
        impl Channel for Endless {
            fn record(&mut self) -> io::Result<[u8; record::SIZE]> {
                Ok(*Record::new().as_bytes())
            }
            fn line(&mut self, _from: u64, _limit: Option<Duration>) -> io::Result<Option<LogLine>> {
                self.0 += 1;
                let mut bytes = [0; LogLine::BYTES];
                bytes[..8].copy_from_slice(&self.0.to_le_bytes());
                Ok(Some(LogLine::from_bytes(&bytes)))
            }
        }
        let result = read(&mut Endless(0), false, &mut |_, _| true).expect("read");
        assert_eq!(result["lines"].as_array().map(Vec::len), Some(activity::CAPACITY));
    }

    #[test]
    fn lines_are_followed_until_the_device_goes() {
        let mut fake =
            Fake { coming: vec![1, 80, 2], end: Some(io::ErrorKind::PermissionDenied), ..Fake::new(1) };
        let (lines, result) = printed(&mut fake, true, usize::MAX);
        let error = result.expect_err("it ends");
        assert_eq!(exit::code(&error), Exit::Io);
        assert!(error.to_string().contains("gone with its device"), "{error}");
        let lines: Vec<_> = lines.iter().skip(3).collect();
        assert!(
            lines[0].ends_with(" 1 xenpci: line 1") && lines[2].ends_with(" 3 xenpci: line 1001"),
            "{lines:?}"
        );
        let (told, rest): (Vec<&String>, Vec<&String>) =
            lines.into_iter().partition(|line| line.ends_with(" lines are lost"));
        assert_eq!(told.len(), 1);
        let lost: usize = told[0].split(' ').next().and_then(|word| word.parse().ok()).expect("a number");
        assert_eq!(lost + rest.len(), 84);
    }

    #[test]
    fn who_reads_no_more_is_given_no_more() {
        let mut fake = Fake { coming: vec![1, 1, 1], end: Some(io::ErrorKind::Other), ..Fake::new(0) };
        let (lines, result) = printed(&mut fake, true, 4);
        assert_eq!(lines.len(), 4);
        result.expect("an end in order");
    }

    #[test]
    fn what_stands_against_reading_is_told_with_what_to_do() {
        let told = |error: &anyhow::Error| (exit::code(error), format!("{error:#}"));
        let mut earlier = Fake { known: false, ..Fake::new(1) };
        let (exit, text) = told(&printed(&mut earlier, false, usize::MAX).1.expect_err("not known"));
        assert!(
            exit == Exit::Refused && text.contains("earlier version") && text.contains("install"),
            "{text}"
        );
        let none = |result| told(&opened(result).err().expect("not opened"));
        let (exit, text) = none(Ok(None));
        assert!(exit == Exit::Refused && text.contains("xenguard verify"), "{text}");
        let (exit, text) = none(Err(io::ErrorKind::PermissionDenied.into()));
        assert!(exit == Exit::NotPermitted && text.contains("administrators"), "{text}");
        assert_eq!(none(Err(io::ErrorKind::Other.into())).0, Exit::Io);
    }
}
