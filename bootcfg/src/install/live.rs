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

use super::{
    edits::{self, OURS},
    package::{DRIVERS, FILTERED, INFS},
    service,
};
use crate::{
    bail_as,
    files::{Disk, Files},
    guest_files,
    inf::Inf,
    session::Session,
    system::System,
};

const CLASS: &str = "HKLM\\SYSTEM\\CurrentControlSet\\Control\\Class";
const SERVICES: &str = "HKLM\\SYSTEM\\CurrentControlSet\\Services";
const CRITICAL: &str = "HKLM\\SYSTEM\\CurrentControlSet\\Control\\CriticalDeviceDatabase";
const SESSION_MANAGER: &str = "HKLM\\SYSTEM\\CurrentControlSet\\Control\\Session Manager";
/// Name of the value with the files that are renamed at the next start (`MoveFileEx`, `MOVEFILE_DELAY_UNTIL_REBOOT`).
const RENAMES: &str = "PendingFileRenameOperations";
/// Names of the platform device in the list of critical devices. Other suites drive it, too.
const PLATFORM: [&str; 2] = ["pci#ven_5853&dev_0001", "pci#ven_5853&dev_0002"];
/// Name of the child device in that list.
const CHILD: &str = "xenguard#vbd";
/// The packages that are in the driver store, the child's first.
const STAGED: [&str; 2] = ["xenvbd", "xenpci"];

/// The drivers that the others import from, or that stand in for those.
const IMPORTED: [&str; 2] = ["idefilter", "idefallback"];
/// Programs that are called.
const TOOLS: [&str; 4] = ["rundll32", "pnputil", "reg", "sc"];

/// A program and its arguments.
type Line = Vec<String>;

/// Outcome of an installation.
#[derive(Debug)]
pub struct Installed {
    /// A restart is needed before a PV boot.
    pub restart: bool,
    /// Things to tell the admin, of which nothing of the drivers depends.
    pub notes: Vec<String>,
}

/// The tools of a Windows.
#[derive(Clone, Debug)]
pub struct Commands {
    /// `%SystemRoot%`.
    windows: PathBuf,
    /// Called with the tool's name before its arguments, instead of the tools: for tests.
    stand_in: Option<PathBuf>,
    /// The package's folder, where one is at hand: its INF files serve where Windows keeps none of them.
    package: Option<PathBuf>,
    /// A hive that stands for the registry, in tests.
    registry: Option<PathBuf>,
}

impl Commands {
    /// Returns the commands of the Windows that this runs in.
    ///
    /// # Errors
    /// This is no Windows.
    pub fn of_system(session: &Session) -> Result<Commands> {
        let stand_in = session.global.tools.clone();
        if !cfg!(windows) && stand_in.is_none() {
            bail_as!(
                Usage,
                "this is not Windows: say --root DIR, where the guest's system volume is mounted"
            );
        }
        let windows = std::env::var_os("SystemRoot").unwrap_or_else(|| "C:\\Windows".into());
        let registry = session.global.registry.clone();
        Ok(Commands { windows: windows.into(), stand_in, package: None, registry })
    }

    /// Returns the lines that `install` runs, in its order: the files of the filter, which the others import
    /// from and could not be started without; the child's package, so that it is known when its bus is; the
    /// bus, which registers the child's service; the filter's service and, last of all, the filter lists. An
    /// upgrade runs the same.
    fn installing(folder: &Path) -> Vec<Line> {
        let inf = |name: &str| folder.join(format!("{name}.inf")).to_string_lossy().into_owned();
        let mut lines = vec![section("Idefilter.CopyFile", &inf("idefilter"))];
        lines.extend(STAGED.iter().map(|name| line(&["pnputil", "-i", "-a", &inf(name)])));
        lines.push(section("DefaultInstall", &inf("idefilter")));
        lines
    }

    /// Returns the lines that `uninstall` runs before the boot entries are removed: everything that could refer
    /// to a file.
    fn unregistering(&self) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        if let Some(inf) = self.stored("idefilter")? {
            lines.push(section("DefaultUninstall", &inf.to_string_lossy()));
        }
        Ok(lines)
    }

    /// Returns the lines that `uninstall` runs once no filter list names a driver. What another vendor's driver of the
    /// same name has is left out: without it that suite's filters would stop every boot.
    fn removing(&self) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        let mut critical = vec![CHILD];
        if !self.is_anothers("xenpci")? {
            for device in PLATFORM {
                let ours =
                    self.has_text(&format!("{CRITICAL}\\{device}"), "Service", &["/e", "/f", "xenpci"])?;
                critical.extend(ours.then_some(device));
            }
        }
        for device in critical {
            lines.push(line(&["reg", "delete", &format!("{CRITICAL}\\{device}"), "/f"]));
        }
        for name in STAGED {
            for inf in self.stored_by_windows(name)? {
                lines.push(line(&["pnputil", "-f", "-d", &file_name(&inf)]));
            }
            if self.is_anothers(name)? {
                continue;
            }
            lines.push(line(&["sc", "delete", name]));
            lines.push(line(&["reg", "delete", &format!("{SERVICES}\\EventLog\\System\\{name}"), "/f"]));
        }
        Ok(lines)
    }

    /// For `--dry-run`.
    ///
    /// # Errors
    /// A tool that would be needed is not there.
    pub fn install_lines(&self, folder: &Path) -> Result<Vec<String>> {
        self.find_tools()?;
        let mut lines = Vec::new();
        lines.extend(self.service_file().is_file().then(service::stop));
        lines.extend(Self::installing(folder));
        if folder.join(service::FILE).is_file() {
            let [create, _] = service::make();
            lines.push(create);
            lines.extend(service::complete());
            lines.push(service::start());
        }
        Ok(lines.iter().map(|line| line.join(" ")).collect())
    }

    /// Looks for the tools before anything is changed.
    fn find_tools(&self) -> Result<()> {
        let missing = |name: &&&str| !self.program(name).is_file();
        if let Some(name) = TOOLS.iter().find(missing) {
            // Server 2003 has no pnputil, and its reg does not search.
            bail_as!(
                Tool,
                "{} is not there; nothing was changed. Windows has these tools from Vista on: before, use install.cmd \
                 and uninstall.cmd of the package",
                self.program(name).display()
            );
        }
        Ok(())
    }

    /// For `--dry-run`.
    ///
    /// # Errors
    /// A tool that would be needed is not there, or the folder of INF files cannot be read.
    pub fn uninstall_lines(&self) -> Result<Vec<String>> {
        self.find_tools()?;
        self.find_inf()?;
        let has_service = self.service_file().is_file();
        let (stop, remove) = (has_service.then(service::stop), has_service.then(service::remove));
        let mut lines: Vec<Line> = stop.into_iter().collect();
        lines.extend([self.unregistering()?, self.removing()?].concat());
        lines.extend(remove.into_iter().flatten());
        Ok(lines.iter().map(|line| line.join(" ")).collect())
    }

    /// Installs from `folder`; `entry` adds the boot entry, and `take_back` takes it back where that failed
    /// halfway. The service comes last: where it fails, that is a note.
    ///
    /// # Errors
    /// A tool failed or did not do what it should; what was done is undone, or the message says what is left.
    pub fn install(
        &self,
        folder: &Path,
        entry: impl FnOnce() -> Result<()>,
        take_back: impl FnOnce() -> Result<()>,
    ) -> Result<Installed> {
        self.find_tools()?;
        // Setup cannot register it again before that, and a filter list that names it would outlive it.
        if let Some(name) = self.marked()?.first() {
            bail_as!(
                Refused,
                "the service {name} was uninstalled, and Windows removes it at the restart only: restart first, then \
                 install. Nothing was changed"
            );
        }
        // It has xenpci's device open.
        self.stop_service()?;
        let commands = Commands { package: Some(folder.to_owned()), ..self.clone() };
        let upgrade = self.is_registered("idefilter")?;
        let done = (|| {
            let lines = Self::installing(folder);
            let (files, rest) = lines.split_at(1);
            for line in files {
                self.run(line)?;
            }
            // rundll32 reports nothing: what it did is seen.
            let mut renamed = false;
            for name in IMPORTED {
                renamed |= self.is_replaced_at_restart(folder, name)?;
            }
            let flushed = self.flush_filter();
            // A file that is in use is not opened, and was on the disk at the last start.
            if !upgrade {
                flushed?;
            }
            for line in rest {
                self.run(line)?;
            }
            for name in DRIVERS {
                if !self.is_registered(name)? {
                    bail_as!(Tool, "setup reported success, but the service {name} is not registered");
                }
            }
            if self.filtered()? != FILTERED.len() {
                bail_as!(
                    Tool,
                    "setup reported success, but idefilter is not among the filters of every class"
                );
            }
            entry().map(|()| renamed)
        })();
        let error = match done {
            Err(error) => error,
            Ok(renamed) => {
                let note = |error| {
                    format!(
                        "{error:#}: the service is not installed, or is an older one. The drivers and the boot entries do \
                         not depend on it"
                    )
                };
                let flushed = self.flush().map_err(|error| {
                    format!(
                        "Windows was not asked to write everything to the disk at once: {error:#}. Shut it down in order before \
                         the power may go, or the loader may find a driver registered whose file is not whole"
                    )
                });
                let mut notes: Vec<_> = flushed.err().into_iter().collect();
                notes.extend(self.install_service(folder).err().map(note));
                return Ok(Installed { restart: upgrade || renamed, notes });
            }
        };
        let error = match take_back() {
            Ok(()) => error,
            Err(undoing) => error.context(format!(
                "the boot entries could not be brought back ({undoing:#}): a PV entry that is left boots emulated"
            )),
        };
        if upgrade {
            if self.service_file().is_file() {
                // As it was; where it does not start, the error that is on its way says more.
                let _ = self.succeeds(&service::start());
            }
            return Err(error
                .context("the version that was installed before may be half replaced; run install again"));
        }
        Err(match commands.take_out(|| Ok(())) {
            Ok(left) if left.is_empty() => error.context("what was installed is taken out again"),
            Ok(left) => error.context(format!(
                "what was installed is taken out again, but this is left, to which nothing refers: {}",
                left.join(", ")
            )),
            Err(undoing) => {
                error.context(format!("taking it out again failed too ({undoing:#}); run uninstall"))
            }
        })
    }

    /// Takes the suite out; `entries` removes the boot entries. Returns what is left that nothing refers to: services
    /// that go at the next start, files, and packages in the driver store.
    ///
    /// # Errors
    /// A tool is not there, and nothing was changed; or one failed, and while the filter is registered nothing that
    /// it needs is touched.
    pub fn uninstall(&self, entries: impl FnOnce() -> Result<()>) -> Result<Vec<String>> {
        self.find_tools()?;
        self.find_inf()?;
        self.take_out(entries)
    }

    /// Has the drivers' files and the registry written to the disk.
    ///
    /// # Errors
    /// The volume or the registry cannot be flushed.
    pub fn flush(&self) -> Result<()> {
        self.flush_volume()?;
        System::running(self.registry.as_deref()).registry().flush().context("the registry cannot be flushed")
    }

    /// Has the whole volume written to the disk. A driver that is loaded, or that `PnpLockdown` keeps from programs, cannot be
    /// opened to be flushed.
    fn flush_volume(&self) -> Result<()> {
        if self.stand_in.is_some() {
            return self.run(&line(&["flush"]));
        }
        Disk.flush_volume(&self.windows).context("the volume cannot be flushed")
    }

    /// Has the filter's files written to the disk, with their volume or, where that is refused, each by itself.
    fn flush_filter(&self) -> Result<()> {
        let Err(error) = self.flush_volume() else { return Ok(()) };
        for name in IMPORTED {
            let file = self.file_of(name);
            Disk.flush(&file).with_context(|| format!("{error:#}, nor {} alone", file.display()))?;
        }
        Ok(())
    }

    /// Checks that the INF file is there by which setup takes the filter out, where it is in the lists or its services are
    /// registered.
    ///
    /// # Errors
    /// The filter or its stand-in is there, and the file is not.
    fn find_inf(&self) -> Result<()> {
        let marked = self.marked()?;
        let mut is_needed = self.filtered()? != 0;
        for name in IMPORTED {
            is_needed |= !marked.contains(&name) && self.is_ours(name)?;
        }
        if is_needed && self.stored("idefilter")?.is_none() {
            bail_as!(
                Refused,
                "idefilter.inf is neither in {} nor beside this program: run it from the package's folder. Nothing was changed",
                self.windows.join("INF").display()
            );
        }
        Ok(())
    }

    /// Returns the path of the service's file.
    fn service_file(&self) -> PathBuf {
        self.windows.join("System32").join(service::FILE)
    }

    /// Stops the service, where there is one; one that does not run is no error.
    fn stop_service(&self) -> Result<()> {
        if self.service_file().is_file() {
            self.succeeds(&service::stop())?;
        }
        Ok(())
    }

    /// Installs the service of the package in `folder`, or starts again the one that is there.
    fn install_service(&self, folder: &Path) -> Result<()> {
        let (new, own) = (folder.join(service::FILE), self.service_file());
        if !new.is_file() {
            if own.is_file() {
                self.succeeds(&service::start())?;
            }
            return Ok(());
        }
        // A program that runs on cannot be replaced, and can be renamed.
        if std::fs::copy(&new, &own).is_err() {
            let aside = own.with_extension("old.exe");
            // Left there by an earlier time, perhaps.
            let _ = std::fs::remove_file(&aside);
            std::fs::rename(&own, &aside)
                .and_then(|()| std::fs::copy(&new, &own))
                .with_context(|| format!("{} cannot be written", own.display()))?;
        }
        let [create, config] = service::make();
        if !self.succeeds(&create)? {
            self.run(&config)?;
        }
        for line in service::complete() {
            self.run(&line)?;
        }
        // An admin may have disabled it.
        let _ = self.succeeds(&service::start())?;
        Ok(())
    }

    /// Removes the service, and returns its file where that stays.
    fn remove_service(&self) -> Result<Option<PathBuf>> {
        let own = self.service_file();
        if !own.is_file() {
            return Ok(None);
        }
        for line in service::remove() {
            // What may not be there.
            let _ = self.succeeds(&line)?;
        }
        let _ = std::fs::remove_file(own.with_extension("old.exe"));
        Ok(std::fs::remove_file(&own).is_err().then_some(own))
    }

    /// Does the work of [`uninstall`](Self::uninstall), and takes back what an installation has begun.
    fn take_out(&self, entries: impl FnOnce() -> Result<()>) -> Result<Vec<String>> {
        self.stop_service()?;
        let lines = self.unregistering()?;
        for line in &lines {
            self.run(line)?;
        }
        if self.filtered()? != 0 {
            bail_as!(Tool, "idefilter is still among the filters of a class; nothing more was removed");
        }
        // A boot by "last known good" has a set of its own, and would not find the filter's file (0x7B).
        let system = System::running(self.registry.as_deref());
        edits::filters_out(system.registry()).and_then(|edits| system.registry().apply(&edits)).context(
            "idefilter is still among the filters of other control sets (last known good); its files stay, and nothing more \
             was removed. Run uninstall again",
        )?;
        // Their own words are of the menu alone.
        entries().context(
            "idefilter is among no class' filters any more, so that every boot is emulated; services, files and boot entries \
             are still there. Run uninstall again",
        )?;
        for line in self.removing()? {
            // Each removes what may not be there; what counts is checked below.
            let _ = self.run(&line);
        }
        let marked = self.marked()?;
        let stays = |name: &&str| !marked.contains(name) && matches!(self.is_ours(name), Ok(true));
        if let Some(name) = DRIVERS.into_iter().find(|name| stays(name)) {
            bail_as!(
                Tool,
                "the service {name} is still registered, though no filter list names it. Run uninstall again"
            );
        }
        // After a power cut the registry on the disk must not name a file that is gone.
        system.registry().flush().context(
            "the registry cannot be written to the disk; the drivers' files stay. Run uninstall again",
        )?;
        // Of files that are in use setup removes some at the next start, and some stay.
        if let Some(inf) = self.stored("idefilter")? {
            self.run(&section("Idefilter.RemoveFile", &inf.to_string_lossy()))?;
        }
        let mut left: Vec<String> =
            marked.iter().map(|name| format!("the service {name}, until the restart")).collect();
        left.extend(self.remove_service()?.map(|file| file.display().to_string()));
        for name in DRIVERS {
            let file = self.file_of(name);
            if file.is_file() && !self.is_anothers(name)? {
                left.push(file.display().to_string());
            }
        }
        for name in INFS {
            left.extend(self.stored_by_windows(name)?.into_iter().map(|inf| {
                let file = file_name(&inf);
                format!("{} (the package {name} in the driver store: pnputil -d {file})", inf.display())
            }));
        }
        Ok(left)
    }

    /// Returns true if a service has a key.
    fn is_registered(&self, service: &str) -> Result<bool> {
        self.succeeds(&line(&["reg", "query", &format!("{SERVICES}\\{service}"), "/v", "Start"]))
    }

    /// Returns true if a service is there, and of this suite.
    fn is_ours(&self, service: &str) -> Result<bool> {
        self.has_text(&format!("{SERVICES}\\{service}"), "DisplayName", &["/f", OURS])
    }

    /// Returns true if a service is there, and of another vendor.
    fn is_anothers(&self, service: &str) -> Result<bool> {
        Ok(self.is_registered(service)? && !self.is_ours(service)?)
    }

    /// Returns the drivers whose services are deleted, and stay until the restart: the service manager marks the service
    /// of a driver that is loaded (`DeleteService`).
    fn marked(&self) -> Result<Vec<&'static str>> {
        let mut marked = Vec::new();
        for name in DRIVERS {
            let key = format!("{SERVICES}\\{name}");
            if self.succeeds(&line(&["reg", "query", &key, "/v", "DeleteFlag"]))? && self.is_ours(name)? {
                marked.push(name);
            }
        }
        Ok(marked)
    }

    /// Returns the names of this suite's drivers that other vendors' services have, and true if no service is
    /// ours.
    ///
    /// # Errors
    /// A tool is not there.
    pub fn namesakes(&self) -> Result<(Vec<&'static str>, bool)> {
        self.find_tools()?;
        let (mut others, mut alone) = (Vec::new(), true);
        for name in DRIVERS {
            match (self.is_registered(name)?, self.is_ours(name)?) {
                (_, true) => alone = false,
                (true, false) => others.push(name),
                (false, false) => {}
            }
        }
        Ok((others, alone))
    }

    /// Returns true if a driver's file is that of the package from the restart on only, since it is in use.
    ///
    /// # Errors
    /// It is another one, or not there, and nothing will replace it.
    fn is_replaced_at_restart(&self, folder: &Path, driver: &str) -> Result<bool> {
        let (file, source) = (self.file_of(driver), format!("{driver}.sys"));
        // Names in a package may be in upper case.
        let path = guest_files::file(folder, &source)?.unwrap_or_else(|| folder.join(&source));
        let new = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let now = std::fs::read(&file);
        if now.as_ref().is_ok_and(|now| *now == new) {
            return Ok(false);
        }
        if self.has_text(SESSION_MANAGER, RENAMES, &["/f", &source])? {
            return Ok(true);
        }
        match now {
            Err(_) => bail_as!(Tool, "setup reported success, but {} is not there", file.display()),
            Ok(_) => bail_as!(
                Tool,
                "setup reported success, but {} is not that of the package, and no restart will replace it",
                file.display()
            ),
        }
    }

    /// Returns the number of classes that have idefilter in their list.
    fn filtered(&self) -> Result<usize> {
        let mut count = 0;
        for class in FILTERED {
            let key = format!("{CLASS}\\{class}");
            count += usize::from(self.has_text(&key, "UpperFilters", &["/f", "idefilter"])?);
        }
        Ok(count)
    }

    /// Returns true if the data of a key's value has a text. `reg query /f` tells by its exit code whether it finds the
    /// data (NT 6.0 on), which `/e` asks for as a whole.
    fn has_text(&self, key: &str, value: &str, find: &[&str]) -> Result<bool> {
        self.succeeds(&line(&[&["reg", "query", key, "/v", value, "/d"], find].concat()))
    }

    /// Returns the path of a driver's file.
    fn file_of(&self, driver: &str) -> PathBuf {
        self.windows.join("System32").join("drivers").join(format!("{driver}.sys"))
    }

    /// Returns the INF file of a package: the one that Windows keeps, or that of the package at hand, or
    /// beside this program.
    fn stored(&self, name: &str) -> Result<Option<PathBuf>> {
        if let Some(inf) = self.stored_by_windows(name)?.pop() {
            return Ok(Some(inf));
        }
        let exe = std::env::current_exe().ok();
        let beside = exe.as_deref().and_then(Path::parent);
        let folders = self.package.as_deref().into_iter().chain(beside);
        Ok(folders.map(|folder| folder.join(format!("{name}.inf"))).find(|path| is_inf_of(path, name)))
    }

    /// Returns the paths of Windows' copies of a package's INF file, one for each version that was installed: in `INF`, as
    /// `oem<n>.inf`.
    fn stored_by_windows(&self, name: &str) -> Result<Vec<PathBuf>> {
        let folder = self.windows.join("INF");
        let mut candidates = Vec::new();
        if folder.is_dir() {
            for entry in std::fs::read_dir(&folder)
                .with_context(|| format!("cannot look into {}", folder.display()))?
            {
                candidates.push(entry?.path());
            }
        }
        candidates.retain(|path| is_inf_of(path, name));
        candidates.sort();
        Ok(candidates)
    }

    fn program(&self, name: &str) -> PathBuf {
        match &self.stand_in {
            Some(stand_in) => stand_in.clone(),
            None => self.windows.join("System32").join(format!("{name}.exe")),
        }
    }

    fn run(&self, line: &[String]) -> Result<()> {
        if self.succeeds(line)? {
            return Ok(());
        }
        bail_as!(Tool, "{} failed; it must be run as an administrator", line.join(" "))
    }

    fn succeeds(&self, line: &[String]) -> Result<bool> {
        let program = self.program(&line[0]);
        let mut command = Command::new(&program);
        if self.stand_in.is_some() {
            command.args(line);
        } else {
            give(&mut command, line);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().with_context(|| format!("{} does not start", program.display()))?;
        // pnputil says so where all went well and a restart is needed (ERROR_SUCCESS_REBOOT_REQUIRED), and
        // where no device was there to install on (ERROR_NO_MORE_ITEMS, ERROR_NO_SUCH_DEVINST's
        // HRESULT is its own).
        // A stand-in on Unix has the lower eight bits of them.
        let done = |code: i32| matches!(code, 3010 | 259) || cfg!(unix) && matches!(code, 194 | 3);
        Ok(status.success() || line[0] == "pnputil" && status.code().is_some_and(done))
    }
}

/// Gives a program the arguments of a line. rundll32 hands on what stands behind its own as it stands there, and setup takes
/// quotes as part of a path: the last one is given without, whatever blanks are in it.
#[cfg(windows)]
fn give(command: &mut Command, line: &[String]) {
    use std::os::windows::process::CommandExt;
    match line {
        [program, arguments @ .., path] if program == "rundll32" => {
            command.args(arguments).raw_arg(path);
        }
        _ => {
            command.args(&line[1..]);
        }
    }
}

/// Gives a program the arguments of a line.
#[cfg(not(windows))]
fn give(command: &mut Command, line: &[String]) {
    command.args(&line[1..]);
}

/// Returns the name of a file without its folder.
fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns true if the file is the INF file of our package of this name.
fn is_inf_of(path: &Path, name: &str) -> bool {
    let named = path.file_name().is_some_and(|file| {
        let file = file.to_string_lossy().to_ascii_lowercase();
        file == format!("{name}.inf") || (file.starts_with("oem") && file.ends_with(".inf"))
    });
    let Some(inf) = named.then(|| std::fs::read(path).ok()).flatten() else { return false };
    let Ok(inf) = Inf::parse(&String::from_utf8_lossy(&inf)) else { return false };
    let own = format!("{name}.sys");
    inf.value("Version", "Provider") == Some("Xenguard")
        && inf.lines("SourceDisksFiles").first().is_some_and(|line| line.has_key(&own))
}

fn line(words: &[&str]) -> Line {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Has setup carry out a section; 128: without asking for a restart.
fn section(name: &str, inf: &str) -> Line {
    line(&["rundll32", "setupapi.dll,InstallHinfSection", name, "128", inf])
}
