//! Installing into the running Windows, and taking the suite out of it: by the tools that Windows brings
//! along.
//!
//! rundll32 has setup carry out sections of the INF files (every version of Windows has that), pnputil puts
//! packages into the driver store and takes them out (NT 6.0 on), reg and sc remove what no INF section
//! removes. Each is called for what it does; what it prints is in the language of the system and is never
//! parsed. What came of it is seen in the registry and in the folder of drivers.

use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::package::DRIVERS;
use crate::{inf::Inf, session::Session, told};

const CLASS: &str = "HKLM\\SYSTEM\\CurrentControlSet\\Control\\Class";
/// The classes whose upper filter idefilter is: System, IDE controllers, SCSI adapters, disks.
const FILTERED: [&str; 4] = [
    "{4D36E97D-E325-11CE-BFC1-08002BE10318}",
    "{4D36E96A-E325-11CE-BFC1-08002BE10318}",
    "{4D36E97B-E325-11CE-BFC1-08002BE10318}",
    "{4D36E967-E325-11CE-BFC1-08002BE10318}",
];
const SERVICES: &str = "HKLM\\SYSTEM\\CurrentControlSet\\Services";
const CRITICAL: &str = "HKLM\\SYSTEM\\CurrentControlSet\\Control\\CriticalDeviceDatabase";
/// The devices in the list of critical devices.
const DEVICES: [&str; 3] = ["pci#ven_5853&dev_0001", "pci#ven_5853&dev_0002", "xenguard#vbd"];
/// The packages that are in the driver store, the child's first.
const STAGED: [&str; 2] = ["xenvbd", "xenpci"];

/// A program and its arguments.
type Line = Vec<String>;

/// The tools of a Windows.
#[derive(Clone, Debug)]
pub struct Commands {
    /// `%SystemRoot%`.
    windows: PathBuf,
    /// Called with the tool's name before its arguments, instead of the tools: for tests.
    stand_in: Option<PathBuf>,
}

impl Commands {
    /// Those of the Windows that this runs in.
    ///
    /// # Errors
    /// This is no Windows.
    pub fn of_system(session: &Session) -> Result<Commands> {
        let stand_in = session.global.tools.clone();
        if !cfg!(windows) && stand_in.is_none() {
            told!(Usage, "this is not Windows: say --root DIR, where the guest's system volume is mounted");
        }
        let windows = std::env::var_os("SystemRoot").unwrap_or_else(|| "C:\\Windows".into());
        Ok(Commands { windows: windows.into(), stand_in })
    }

    /// What `install` runs, in its order: the child's package first, so that it is known when its bus is;
    /// then the bus, which registers the child's service; the filter last. An upgrade runs the same.
    fn installing(&self, folder: &Path) -> Vec<Line> {
        let inf = |name: &str| folder.join(format!("{name}.inf")).to_string_lossy().into_owned();
        let mut lines: Vec<Line> =
            STAGED.iter().map(|name| line(&["pnputil", "-i", "-a", &inf(name)])).collect();
        lines.push(section("DefaultInstall", &inf("idefilter")));
        lines
    }

    /// What `uninstall` runs before the boot entries are removed: everything that could refer to a file.
    fn unregistering(&self) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        if let Some(inf) = self.stored("idefilter")? {
            lines.push(section("DefaultUninstall", &inf.to_string_lossy()));
        }
        Ok(lines)
    }

    /// What `uninstall` runs once no filter list names a driver.
    fn removing(&self) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        for device in DEVICES {
            lines.push(line(&["reg", "delete", &format!("{CRITICAL}\\{device}"), "/f"]));
        }
        for name in STAGED {
            if let Some(inf) = self.stored(name)?.and_then(|inf| inf.file_name().map(ToOwned::to_owned)) {
                lines.push(line(&["pnputil", "-f", "-d", &inf.to_string_lossy()]));
            }
            lines.push(line(&["sc", "delete", name]));
            lines.push(line(&["reg", "delete", &format!("{SERVICES}\\EventLog\\System\\{name}"), "/f"]));
        }
        Ok(lines)
    }

    /// For `--dry-run`.
    #[must_use]
    pub fn install_lines(&self, folder: &Path) -> Vec<String> {
        self.installing(folder).iter().map(|line| line.join(" ")).collect()
    }

    /// For `--dry-run`.
    ///
    /// # Errors
    /// The folder of INF files cannot be read.
    pub fn uninstall_lines(&self) -> Result<Vec<String>> {
        let lines = [self.unregistering()?, self.removing()?].concat();
        Ok(lines.iter().map(|line| line.join(" ")).collect())
    }

    /// Installs from `folder`; `entry` adds the boot entry. Returns whether a restart is needed before a PV
    /// boot.
    ///
    /// # Errors
    /// A tool failed or did not do what it should; what was done is undone, and the message says so.
    pub fn install(&self, folder: &Path, entry: impl FnOnce() -> Result<()>) -> Result<bool> {
        let upgrade = self.is_registered("idefilter")?;
        let done = (|| {
            for line in self.installing(folder) {
                self.run(&line)?;
            }
            for name in DRIVERS {
                if !self.is_registered(name)? {
                    told!(Tool, "setup reported success, but the service {name} is not registered");
                }
            }
            if self.filtered()? != FILTERED.len() {
                told!(Tool, "setup reported success, but idefilter is not among the filters of every class");
            }
            entry()
        })();
        let Err(error) = done else { return Ok(upgrade) };
        if upgrade {
            return Err(error
                .context("the version that was installed before may be half replaced; run install again"));
        }
        Err(match self.uninstall(|| Ok(())) {
            Ok(()) => error.context("what was installed is taken out again"),
            Err(undoing) => {
                error.context(format!("taking it out again failed too ({undoing:#}); run uninstall"))
            }
        })
    }

    /// Takes the suite out; `entries` removes the boot entries.
    ///
    /// # Errors
    /// A tool failed; while the filter is registered nothing that it needs is touched.
    pub fn uninstall(&self, entries: impl FnOnce() -> Result<()>) -> Result<()> {
        let lines = self.unregistering()?;
        for line in &lines {
            self.run(line)?;
        }
        if self.filtered()? != 0 {
            told!(Tool, "idefilter is still among the filters of a class; nothing more was removed");
        }
        entries()?;
        for line in self.removing()? {
            // Each removes what may not be there; what counts is checked below.
            let _ = self.run(&line);
        }
        if let Some(name) = STAGED.into_iter().find(|name| matches!(self.is_registered(name), Ok(true))) {
            told!(
                Tool,
                "the service {name} is still registered; without idefilter it does not load. Run uninstall again"
            );
        }
        // Files that are in use are removed at the next start, by setup.
        if let Some(inf) = self.stored("idefilter")? {
            self.run(&section("Idefilter.RemoveFile", &inf.to_string_lossy()))?;
        }
        Ok(())
    }

    /// A service's key is there.
    fn is_registered(&self, service: &str) -> Result<bool> {
        self.succeeds(&line(&["reg", "query", &format!("{SERVICES}\\{service}"), "/v", "Start"]))
    }

    /// How many of the classes have idefilter in their list. `reg query /f` tells by its exit code whether it
    /// finds the data (NT 6.0 on).
    fn filtered(&self) -> Result<usize> {
        let mut count = 0;
        for class in FILTERED {
            let key = format!("{CLASS}\\{class}");
            let query = line(&["reg", "query", &key, "/v", "UpperFilters", "/d", "/f", "idefilter"]);
            count += usize::from(self.succeeds(&query)?);
        }
        Ok(count)
    }

    /// Where Windows keeps the INF file of a package: in `INF`, as `oem<n>.inf`, or beside this program.
    fn stored(&self, name: &str) -> Result<Option<PathBuf>> {
        let folder = self.windows.join("INF");
        let own = format!("{name}.sys");
        let mut candidates = Vec::new();
        if folder.is_dir() {
            for entry in std::fs::read_dir(&folder)
                .with_context(|| format!("cannot look into {}", folder.display()))?
            {
                candidates.push(entry?.path());
            }
        }
        candidates.sort();
        candidates.extend(
            std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(format!("{name}.inf")))),
        );
        let is_it = |path: &PathBuf| {
            let named = path.file_name().is_some_and(|file| {
                let file = file.to_string_lossy().to_ascii_lowercase();
                file == format!("{name}.inf") || (file.starts_with("oem") && file.ends_with(".inf"))
            });
            let Some(inf) = named.then(|| std::fs::read(path).ok()).flatten() else { return false };
            let Ok(inf) = Inf::parse(&String::from_utf8_lossy(&inf)) else { return false };
            inf.value("Version", "Provider") == Some("Xenguard")
                && inf.lines("SourceDisksFiles").first().is_some_and(|line| line.has_key(&own))
        };
        Ok(candidates.into_iter().find(is_it))
    }

    fn run(&self, line: &[String]) -> Result<()> {
        if self.succeeds(line)? {
            return Ok(());
        }
        told!(Tool, "{} failed; it must be run as an administrator", line.join(" "))
    }

    fn succeeds(&self, line: &[String]) -> Result<bool> {
        let program = match &self.stand_in {
            Some(stand_in) => stand_in.clone(),
            None => self.windows.join("System32").join(format!("{}.exe", line[0])),
        };
        let mut command = Command::new(&program);
        command.args(if self.stand_in.is_some() { line } else { &line[1..] });
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().with_context(|| format!("{} does not start", program.display()))?;
        // pnputil says so where all went well and a restart is needed (ERROR_SUCCESS_REBOOT_REQUIRED), and
        // where no device was there to install on (ERROR_NO_MORE_ITEMS, ERROR_NO_SUCH_DEVINST's
        // HRESULT is its own).
        Ok(status.success() || line[0] == "pnputil" && matches!(status.code(), Some(3010 | 259)))
    }
}

fn line(words: &[&str]) -> Line {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Has setup carry out a section; 128: without asking for a restart.
fn section(name: &str, inf: &str) -> Line {
    line(&["rundll32", "setupapi.dll,InstallHinfSection", name, "128", inf])
}
