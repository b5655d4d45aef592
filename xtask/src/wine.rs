//! The shipped drivers in Wine's kernel: a second opinion on their PnP behaviour.
//!
//! Wine 8 loads the real .sys files, in user mode, with its own ntoskrnl. `tests/wine` is the bus that they
//! sit on. Wine's processor is the host's, on which no Xen answers, so that the boot is an emulated one
//! whatever it is asked for; there is no storport.sys either. What is left to see: everything loads,
//! attaches, starts, passes requests down, and goes, in both of the Windows versions that Wine is told to be.
//!
//! Nothing runs as root: Wine gets an unprivileged user and a home of its own, and each command a time limit.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use guard::setup_class::FILTERED;

use crate::{command, layout::Layout, setup};

/// The user that Wine runs as where the caller is root: Debian's nobody.
const NOBODY: u32 = 65534;
/// Seconds that a command may take.
const LIMIT: u32 = 60;
/// Time that the bus's life may take.
const LIFE: Duration = Duration::from_secs(40);

/// Routines of NT 5.2 that Wine 8 does not have. The drivers call them only where Xen is.
const NOT_IN_WINE: [&str; 1] = ["ntoskrnl.exe.KeIpiGenericCall"];

/// Wine's debug channels for drivers and their devices.
pub(crate) const WATCH: &str = "-all,+debugstr,err+module,warn+module,trace+plugplay,err+plugplay,+ntoskrnl";

/// Words of a log that stand for a defect, except in the lines of Wine's own drivers.
const DEFECTS: [&str; 5] =
    ["Unhandled", "Unimplemented", "unimplemented", "protocol error", "delayed freed block"];

/// A Wine prefix of its own, removed when dropped.
pub struct Wine {
    home: PathBuf,
    /// Started by root, so another user is needed.
    root: bool,
}

impl Wine {
    /// Makes a prefix.
    ///
    /// # Errors
    /// Wine cannot be installed or does not start.
    pub fn new(name: &str) -> Result<Wine> {
        setup::wine::ensure()?;
        let root = command::output(Command::new("id").arg("-u"))?.trim() == "0";
        let home = std::env::temp_dir().join(format!("xenguard-wine-{name}-{}", std::process::id()));
        fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
        if root {
            std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY))?;
        }
        let wine = Wine { home, root };
        // Now and then Wine 8 makes a prefix without kernel32.dll, before anything of ours is in it.
        if wine.run(&["wine", "wineboot", "-i"]).is_err() {
            wine.stop();
            fs::remove_dir_all(wine.home.join("prefix"))?;
            wine.run(&["wine", "wineboot", "-i"])?;
        }
        wine.run(&["wineserver", "-w"])?;
        Ok(wine)
    }

    /// Returns a folder of the prefix's drive C.
    pub fn folder(&self, path: &str) -> PathBuf {
        self.home.join("prefix/drive_c").join(path)
    }

    /// Makes a folder of drive C, and those above it, which the user of the prefix may write to.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make_folder(&self, path: &str) -> Result<()> {
        let mut folder = self.folder("");
        for part in path.split('/') {
            folder.push(part);
            fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
            if self.root {
                std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY))?;
            }
        }
        Ok(())
    }

    /// Puts a file into a folder of drive C.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&self, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let path = self.folder(path);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        if self.root {
            std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY))?;
        }
        Ok(())
    }

    /// Runs a command in the prefix, quietly, and returns its output.
    ///
    /// # Errors
    /// It fails or takes too long.
    pub fn run(&self, line: &[&str]) -> Result<String> {
        command::output(self.command(line).env("WINEDEBUG", "-all")).with_context(|| line.join(" "))
    }

    /// Ends everything that runs in the prefix.
    pub fn stop(&self) {
        // It fails where nothing runs.
        let _ = self.run(&["wineserver", "-k"]);
        let _ = self.run(&["wineserver", "-w"]);
    }

    /// Returns a command in the prefix, with its time limit, as the unprivileged user.
    pub fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-k", "5", &LIMIT.to_string()]);
        if self.root {
            let id = NOBODY.to_string();
            command.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]);
        }
        command.args(line).current_dir(&self.home).stdin(Stdio::null());
        command.env("HOME", &self.home).env("WINEPREFIX", self.home.join("prefix")).env_remove("DISPLAY");
        // Nothing of .NET, HTML or a desktop.
        command.env("WINEDLLOVERRIDES", "mscoree,mshtml,winemenubuilder.exe,explorer.exe=");
        command
    }
}

impl Drop for Wine {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// Runs the drivers in Wine, as each of two Windows versions.
///
/// # Errors
/// Wine is not there, or something differs from what must be seen.
pub fn run(layout: &Layout) -> Result<()> {
    let wine = Wine::new("drivers")?;
    let kept = layout.target().join("guests/wine");
    fs::create_dir_all(&kept)?;
    for version in ["win2003", "win10"] {
        let log = life(&wine, layout, version)?;
        fs::write(kept.join(format!("{version}.log")), &log)?;
        let differences = judge(&log);
        ensure!(differences.is_empty(), "as {version}:\n{}", differences.join("\n"));
    }
    Ok(())
}

/// Lets the bus live in a system of that version; the log of it.
fn life(wine: &Wine, layout: &Layout, version: &str) -> Result<String> {
    install(wine, layout)?;
    wine.run(&["wine", "winecfg", "-v", version])?;
    // Drivers print what the server's first command asked for, so the server starts anew.
    wine.stop();
    let path = wine.home.join(format!("{version}.log"));
    let log = fs::File::create(&path)?;
    let logged = |line: &[&str]| {
        let mut command = wine.command(line);
        command.env("WINEDEBUG", WATCH).stdout(log.try_clone()?).stderr(log.try_clone()?);
        Ok::<_, anyhow::Error>(command)
    };
    // Stays until it is told to go, with the drivers.
    logged(&["wineserver", "-p"])?.status()?;
    // idefilter is not in memory, as at a boot without its file.
    logged(&["wine", "net", "start", "idefallback"])?.status()?;
    judge_lists(wine)?;
    // Windows starts the bus's driver for its device; the command waits for it, and fails as it runs already.
    logged(&["wine", "net", "start", "testbus"])?.status()?;
    logged(&["wine", "net", "start", "xenvbd"])?.status()?;
    let started = Instant::now();
    while !fs::read_to_string(&path)?.contains("testbus: end") {
        if started.elapsed() > LIFE {
            let text = fs::read_to_string(&path)?;
            fs::write(layout.target().join("guests/wine").join(format!("{version}.log")), &text)?;
            let told = |line: &&str| line.contains("xenguard: ") || line.contains("err:");
            let lines: Vec<_> = text.lines().filter(told).collect();
            bail!("the bus did not come to its end:\n{}", lines.join("\n"));
        }
        thread::sleep(Duration::from_millis(100));
    }
    logged(&["wine", "net", "stop", "xenpci"])?.status()?;
    wine.stop();
    Ok(String::from_utf8_lossy(&fs::read(&path)?).into_owned())
}

/// Another class with the name in its list, which is nobody's business.
const OTHER_CLASS: &str = "{4D36E972-E325-11CE-BFC1-08002BE10318}";

/// Checks that idefallback has taken the name out of the lists of the four classes, and of nothing else.
fn judge_lists(wine: &Wine) -> Result<()> {
    let list = |class: &str| {
        let key = format!("HKLM\\System\\CurrentControlSet\\Control\\Class\\{class}");
        let text = wine.run(&["wine", "reg", "query", &key, "/v", "UpperFilters"])?;
        Ok::<_, anyhow::Error>((text.contains("idefilter"), text.contains("another")))
    };
    for class in FILTERED {
        let left = list(class)?;
        ensure!(left == (false, true), "the list of {class} after idefallback: {left:?}");
    }
    ensure!(list(OTHER_CLASS)? == (true, true), "idefallback has changed another class");
    Ok(())
}

/// Installs the drivers' files, and the services and the device that no INF makes in Wine; xenpci's service
/// comes from its INF, and nothing is left of an earlier life.
pub(crate) fn install(wine: &Wine, layout: &Layout) -> Result<()> {
    let read = |path: &Path| {
        fs::read(path).with_context(|| format!("cannot read {}; run cargo xtask build first", path.display()))
    };
    for name in ["idefallback", "idefilter", "xenvbd"] {
        let content = read(&layout.dist().join(format!("{name}.sys")))?;
        wine.put(&format!("windows/system32/drivers/{name}.sys"), content)?;
    }
    let testbus = read(&layout.nt().join("testbus.sys"))?;
    wine.put("windows/system32/drivers/testbus.sys", testbus)?;
    let gone = fs::remove_file(wine.folder("windows/system32/drivers/xenpci.sys"));
    drop(gone);
    for file in ["xenpci.inf", "xenpci.sys"] {
        wine.put(&format!("windows/inf/{file}"), read(&layout.dist().join(file))?)?;
    }
    let key = "HKEY_LOCAL_MACHINE\\System\\CurrentControlSet";
    let mut text = format!(
        "REGEDIT4\n\n\
         [-{key}\\Services\\xenpci]\n[-{key}\\Enum\\PCI]\n[-{key}\\Enum\\Root\\TESTBUS]\n\
         [{key}\\Control]\n\"SystemStartOptions\"=\" FASTDETECT GPLPV\"\n\
         [{key}\\Enum\\Root\\TESTBUS\\0000]\n\"Class\"=\"System\"\n\"Service\"=\"testbus\"\n\
         \"ClassGUID\"=\"{{4d36e97d-e325-11ce-bfc1-08002be10318}}\"\n\"HardwareID\"=hex(7):72,6f,6f,74,00,00\n"
    );
    for name in ["idefallback", "idefilter", "xenvbd", "testbus"] {
        // SERVICE_KERNEL_DRIVER, SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL.
        text += &format!(
            "[{key}\\Services\\{name}]\n\"Type\"=dword:1\n\"Start\"=dword:3\n\"ErrorControl\"=dword:1\n\
             \"ImagePath\"=\"C:\\\\windows\\\\system32\\\\drivers\\\\{name}.sys\"\n"
        );
    }
    for class in FILTERED.iter().chain([&OTHER_CLASS]) {
        // "another", "idefilter".
        text += &format!(
            "[{key}\\Control\\Class\\{class}]\n\"UpperFilters\"=hex(7):61,6e,6f,74,68,65,72,00,69,64,65,66,69,6c,74,\\\n  \
             65,72,00,00\n"
        );
    }
    wine.put("install.reg", text)?;
    wine.run(&["wine", "regedit", "/S", "C:\\install.reg"]).map(drop)
}

/// The lines that a log must hold, in this order: decided, with the option asked for and no Xen; the bus
/// filter's driver object complete, and nothing attached in an emulated boot; relations answered at once and
/// late; the platform device bound by its INF, started through xenpci, surprise-removed and removed through
/// xenpci, and all that once more.
const ORDER: [&str; 14] = [
    "idefilter: mode=emulated reason=0x13",
    "testbus: filter: loaded=0x0 add-device=Some(0) unloads=false",
    "testbus: filter: attached=false",
    "testbus: relations at once: 2 children",
    "Services\\\\xenpci\"",
    "testbus: platform got start",
    "testbus: relations late: 1 children",
    "testbus: platform got surprise-removal",
    "testbus: platform got remove",
    "testbus: relations late: 2 children",
    "testbus: platform got start",
    "testbus: platform got surprise-removal",
    "testbus: platform got remove",
    "testbus: end",
];

/// Returns the differences of a log from what must be seen.
fn judge(log: &str) -> Vec<String> {
    let mut differences = Vec::new();
    let mut position = 0;
    for line in ORDER {
        match log[position..].find(line) {
            Some(at) => position += at + line.len(),
            None => differences.push(format!("not seen, or not in its place: {line}")),
        }
    }
    if !log.contains("ZwUnloadDriver") || log.contains("cannot unload driver") {
        differences.push("xenpci was not unloaded".to_owned());
    }
    if log.matches("testbus: ide got start").count() != 0 {
        differences.push("the IDE controller was started, which has no driver here".to_owned());
    }
    for line in log.lines() {
        let ours = !line.contains(":hid:");
        if ours && DEFECTS.iter().any(|word| line.contains(word)) {
            differences.push(format!("a defect: {line}"));
        }
        let missing = line.split_once("No implementation for ").and_then(|(_, rest)| rest.split(' ').next());
        if missing.is_some_and(|routine| !NOT_IN_WINE.contains(&routine)) {
            differences.push(format!("an import that nothing exports: {line}"));
        }
        if line.contains("err:module:import_dll") && !line.contains("storport.sys") {
            differences.push(format!("a module that is not there: {line}"));
        }
    }
    if !log.contains("Library storport.sys (which is needed by L\"C:\\\\windows\\\\system32\\\\drivers\\\\xenvbd.sys\") not found") {
        differences.push("xenvbd did not miss storport.sys, and only that".to_owned());
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> String {
        let storport = "err:module:import_dll Library storport.sys (which is needed by \
                        L\"C:\\\\windows\\\\system32\\\\drivers\\\\xenvbd.sys\") not found";
        format!("{}\n{storport}\nZwUnloadDriver\n", ORDER.join("\n"))
    }

    #[test]
    fn what_is_missing_misplaced_or_too_much_is_named() {
        assert_eq!(judge(&good()), Vec::<String>::new());
        for line in ORDER {
            assert!(!judge(&good().replacen(line, "", 1)).is_empty(), "{line}");
        }
        for more in [
            "warn:module:import_dll No implementation for ntoskrnl.exe.X imported",
            "wine: Unhandled page fault",
            "err:module:import_dll Library other.sys not found",
            "err:ntoskrnl:ZwUnloadDriver cannot unload driver",
            "xenguard: testbus: ide got start",
        ] {
            assert_eq!(judge(&(good() + more)).len(), 1, "{more}");
        }
        for known in [
            "fixme:hid:handle Unhandled type 5",
            "warn:module:import_dll No implementation for ntoskrnl.exe.KeIpiGenericCall imported from L\"xenpci.sys\"",
        ] {
            assert_eq!(judge(&(good() + known)), Vec::<String>::new());
        }
    }
}
