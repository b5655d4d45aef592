//! The service in Wine, started by Wine's service manager, over the shipped xenpci in Wine's kernel.
//!
//! xenpci offers its channel in every boot. The service opens it, asks for its version, sends a heartbeat, and has a
//! request for an event there; the bus takes the device away under it, twice, and it comes back in between. Events and
//! a request to reboot come from the bus's stand-in for the channel (`tests/wine/src/stand_in.rs`), since xenpci has
//! none without Xen. Wine's InitiateSystemShutdownExW only says that it was called.
//!
//! While the channel is there, `xenguard log` reads the guard's record and the activity log by it, and goes on with
//! lines until the device goes.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bootcfg::exit::Exit;

use crate::{
    layout::Layout,
    program::SERVICE,
    wine::{self, Wine},
};

/// Time that the bus's life may take.
const LIFE: Duration = Duration::from_secs(120);
/// Time within which xenpci's channel is there, and there once more.
const CHANNEL: Duration = Duration::from_secs(30);
/// Name of the service.
const NAME: &str = "xenguard-svc";
/// The drivers' key of services.
const SERVICES: &str = "HKLM\\System\\CurrentControlSet\\Services";

/// Parts of the lines that the service's file must have, in this order. xenpci's channel comes and goes twice; the
/// stand-in has a request from before the service, tells of a resume, and asks for a reboot.
const TOLD: [&str; 12] = [
    " 1 The Xenguard service has started: version ",
    " 14 StartOverride, by which the loader would leave a driver out, is taken away from: atapi",
    " 3 The channel of xenpci is open: requests to power off and to reboot are carried out",
    " 5 The channel of xenpci is gone, and is waited for: ",
    " 3 The channel of xenpci is open: requests",
    " 5 The channel of xenpci is gone",
    " 3 The channel of xenpci is open: requests",
    " 12 The toolstack asked, and the power button was pressed: power off",
    " 9 The guest goes on after a suspend, in a new domain",
    " 11 The toolstack asks, and the service carries out: reboot",
    " 5 The channel of xenpci is gone",
    " 2 The Xenguard service has stopped.",
];

/// Parts that the output of `xenguard log` must have: the record with its first event, and lines of both drivers.
const LOG: [&str; 5] = [
    "The guard's record",
    " s decided pv=0 ",
    "The activity log",
    " idefilter: mode=emulated reason=0x13",
    " xenpci: ",
];

/// Runs it.
///
/// # Errors
/// Wine or a file is not there, or something differs from what must be seen.
pub(crate) fn run(layout: &Layout) -> Result<()> {
    let wine = Wine::new("service")?;
    let kept = layout.target().join("guests/service-wine");
    fs::create_dir_all(&kept)?;
    let lived = life(&wine, layout, &kept);
    // Both for a reader, whatever came of it.
    let log = String::from_utf8_lossy(&fs::read(wine.folder("../../log")).unwrap_or_default()).into_owned();
    let told = fs::read_to_string(wine.folder("windows/Xenguard/service.log")).unwrap_or_default();
    fs::write(kept.join("console.txt"), &log)?;
    fs::write(kept.join("service.log"), &told)?;
    lived?;
    judge(&told, &log)
}

/// Lets the bus and the service live, and `xenguard log` read, whose output is kept in a folder.
fn life(wine: &Wine, layout: &Layout, kept: &Path) -> Result<()> {
    wine::install(wine, layout)?;
    let program = |name: &str| {
        let program = layout.dist().join(name);
        fs::read(&program)
            .with_context(|| format!("cannot read {}; cargo xtask build makes it", program.display()))
    };
    wine.put(&format!("windows/system32/{SERVICE}"), program(SERVICE)?)?;
    wine.put("xenguard.exe", program("xenguard.exe")?)?;
    wine.put(
        "service.reg",
        "REGEDIT4\n\n\
         [HKEY_LOCAL_MACHINE\\System\\CurrentControlSet\\Services\\testbus\\Parameters]\n\"Service\"=dword:1\n\
         [HKEY_LOCAL_MACHINE\\System\\CurrentControlSet\\Services\\atapi]\n\"Start\"=dword:0\n\
         [HKEY_LOCAL_MACHINE\\System\\CurrentControlSet\\Services\\atapi\\StartOverride]\n\"0\"=dword:3\n",
    )?;
    wine.run(&["wine", "regedit", "/S", "C:\\service.reg"])?;
    let image = format!("C:\\windows\\system32\\{SERVICE}");
    wine.run(&["wine", "sc", "create", NAME, "binPath=", &image, "type=", "own", "start=", "demand"])?;
    // Drivers and services print what the server's first command asked for, so the server starts anew.
    wine.stop();
    let path = wine.folder("../../log");
    let log = fs::File::create(&path)?;
    let logged = |line: &[&str]| {
        let mut command = wine.command(line);
        let watch = format!("{},trace+eventlog,warn+eventlog,fixme+advapi", wine::WATCH);
        command.env("WINEDEBUG", watch).stdout(log.try_clone()?).stderr(log.try_clone()?);
        Ok::<_, anyhow::Error>(command.status()?)
    };
    logged(&["wineserver", "-p"])?;
    // It may come before the drivers, and waits for them. What it finds to mend is mended at once.
    logged(&["wine", "net", "start", NAME])?;
    logged(&["wine", "net", "start", "testbus"])?;
    read_log(wine, kept)?;
    wait(wine, "testbus: end", || Ok(fs::read_to_string(&path)?))?;
    let marks = format!("{SERVICES}\\atapi\\StartOverride");
    ensure!(wine.run(&["wine", "reg", "query", &marks]).is_err(), "the mark of StartOverride is still there");
    // Another one, which the stop takes away.
    wine.run(&["wine", "reg", "add", &marks, "/v", "0", "/t", "REG_DWORD", "/d", "3", "/f"])?;
    ensure!(wine.run(&["wine", "sc", "query", NAME])?.contains("RUNNING"), "the service does not run");
    logged(&["wine", "net", "stop", NAME])?;
    wait(wine, "The Xenguard service has stopped.", || {
        Ok(fs::read_to_string(wine.folder("windows/Xenguard/service.log"))?)
    })?;
    ensure!(wine.run(&["wine", "reg", "query", &marks]).is_err(), "a mark outlived the service's stop");
    wine.stop();
    Ok(())
}

/// Has `xenguard log` read what the drivers keep, and go on with lines until the device goes.
fn read_log(wine: &Wine, kept: &Path) -> Result<()> {
    let program = ["wine", "C:\\xenguard.exe", "log"];
    for (arguments, exit, name) in
        [(&[][..], Exit::Done, "log.txt"), (&["--follow"][..], Exit::Io, "log-follow.txt")]
    {
        let started = Instant::now();
        let output = loop {
            let output =
                wine.command(&[&program[..], arguments].concat()).env("WINEDEBUG", "-all").output()?;
            // The channel is not there, or no more: it comes again.
            let is_gone = output.status.code() == Some(Exit::Refused as i32);
            if !is_gone || started.elapsed() > CHANNEL {
                break output;
            }
        };
        let told = [output.stdout, output.stderr].concat();
        fs::write(kept.join(name), &told)?;
        let differences = judge_log(&String::from_utf8_lossy(&told), arguments.is_empty());
        let ended = output.status;
        ensure!(
            ended.code() == Some(exit as i32) && differences.is_empty(),
            "xenguard log {}: {ended}: {}",
            arguments.join(" "),
            differences.join(", ")
        );
    }
    Ok(())
}

/// Returns the parts that the output of `xenguard log` lacks; that of a reader who follows ends with an error.
fn judge_log(told: &str, is_whole: bool) -> Vec<String> {
    let end = (!is_whole).then_some("error: xenpci's channel does not answer, or is gone with its device");
    let parts = LOG.into_iter().chain(end);
    parts.filter(|part| !told.contains(part)).map(|part| format!("not told: {part}")).collect()
}

/// Waits until a text has these words.
fn wait(wine: &Wine, words: &str, text: impl Fn() -> Result<String>) -> Result<()> {
    let started = Instant::now();
    while !text().is_ok_and(|text| text.contains(words)) {
        if started.elapsed() > LIFE {
            wine.stop();
            bail!("not seen within {} s: {words}", LIFE.as_secs());
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Returns an error that names what the service's file and the log lack.
fn judge(told: &str, log: &str) -> Result<()> {
    let mut differences = Vec::new();
    let mut position = 0;
    for line in TOLD {
        match told[position..].find(line) {
            Some(at) => position += at + line.len(),
            None => differences.push(format!("the service did not tell, or not in its place: {line}")),
        }
    }
    for line in [
        "testbus: the stand-in is followed: true",
        "testbus: the stand-in has a heartbeat: carried=0",
        "testbus: the stand-in has a heartbeat: carried=3",
        "testbus: the stand-in's request is carried out: true",
        "testbus: the stand-in is left: true",
        "InitiateSystemShutdownExW",
    ] {
        if !log.contains(line) {
            differences.push(format!("not seen: {line}"));
        }
    }
    // The request from before it came is not carried out: one shutdown in all.
    let shutdowns = log.matches("InitiateSystemShutdownExW").count();
    if shutdowns != 1 {
        differences.push(format!("shutdowns that were begun: {shutdowns}"));
    }
    // ReportEventW shows the detail of each.
    if !log.lines().any(|line| line.contains("ReportEvent") && line.contains("reboot")) {
        differences.push("the event log was not told of the reboot".to_owned());
    }
    ensure!(differences.is_empty(), "{}\n{told}", differences.join("\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_misplaced_or_too_much_is_named() {
        let log = "testbus: the stand-in is followed: true\ntestbus: the stand-in has a heartbeat: carried=0\n\
                   testbus: the stand-in has a heartbeat: carried=3\ntestbus: the stand-in's request is carried out: true\n\
                   testbus: the stand-in is left: true\nfixme:advapi:InitiateSystemShutdownExW\n\
                   trace:eventlog:ReportEventW L\"reboot\"\n";
        let told = TOLD.join("\n");
        judge(&told, log).expect("as it must be");
        for line in TOLD {
            assert!(judge(&told.replacen(line, "", 1), log).is_err(), "{line}");
        }
        for line in log.lines() {
            assert!(judge(&told, &log.replacen(line, "", 1)).is_err(), "{line}");
        }
        assert!(judge(&told, &format!("{log}InitiateSystemShutdownExW")).is_err());
    }
    #[test]
    fn what_the_log_lacks_is_named() {
        let told = LOG.join("\n");
        assert!(judge_log(&told, true).is_empty());
        assert_eq!(judge_log(&told, false).len(), 1);
        for part in LOG {
            assert!(!judge_log(&told.replacen(part, "", 1), true).is_empty(), "{part}");
        }
    }
}
