//! The rig's needs of the machine it runs on: programs, Debian's archive, free space.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::Tool;
use crate::error::{FileContext, RigError};
use crate::release::Release;

/// Programs the rig starts, each with the package that brings it.
const PROGRAMS: [(&str, &str); 6] = [
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
    ("depmod", "kmod"),
    ("setpriv", "util-linux"),
    ("gzip", "gzip"),
    ("xz", "xz-utils"),
];
/// Signs Debian's archive; of package debian-archive-keyring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The suite of the machine itself.
const OWN_SUITE: &str = "bookworm";
/// Suites of Debian 12 that dom0 and qemu may come from.
const SUITES: [&str; 3] = [OWN_SUITE, "bookworm-updates", "bookworm-security"];
/// Settings of the machine's apt that decide whether and how the archive is reached.
const NETWORK_SETTINGS: [&str; 6] = [
    "Acquire::http::",
    "Acquire::https::",
    "Acquire::ftp::",
    "Acquire::Retries",
    "Acquire::Check-",
    "Acquire::ForceIPv4",
];
const INSTALL_LIMIT: Duration = Duration::from_secs(600);
/// Another apt may be at work, as on a machine that has just booted.
const LOCK_WAIT: &str = "-oDPkg::Lock::Timeout=300";

/// Returns the search path with the system directories that an unprivileged user's lacks.
fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}

/// Returns the path of a program.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()).map(|dir| dir.join(program)).find(|path| path.is_file())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The way to run something as root.
pub(crate) enum Root {
    /// We are root.
    Already,
    /// Through sudo, without a password.
    Sudo,
}

impl Root {
    /// `None` if there is no way. `log` is a scratch file.
    pub(crate) fn find(log: &Path) -> Option<Self> {
        if is_root() {
            return Some(Self::Already);
        }
        find("sudo")?;
        let sudo = Tool::plain("sudo", log).args(["-n", "true"]).run(Duration::from_secs(20));
        sudo.is_ok().then_some(Self::Sudo)
    }

    /// Returns a command run as root.
    pub(crate) fn tool(&self, program: &str, log: &Path) -> Tool {
        match self {
            Self::Already => Tool::polite(find(program).unwrap_or_else(|| program.into()), log),
            Self::Sudo => Tool::polite("sudo", log).arg("-n").arg(program),
        }
    }

    /// Gives a tree made as root to us.
    pub(crate) fn hand_over(&self, tree: &Path, log: &Path) -> Result<(), RigError> {
        if let Self::Sudo = self {
            let owner =
                format!("{}:{}", rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            self.tool("chown", log).arg("-R").arg(owner).arg(tree).run(INSTALL_LIMIT)?;
        }
        Ok(())
    }
}

/// Installs the packages the rig's own programs come from, if any is missing.
pub(crate) fn install_programs(scratch: &Path, say: &(dyn Fn(&str) + Sync)) -> Result<(), RigError> {
    let mut missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect();
    if !Path::new(KEYRING).is_file() {
        missing.push("debian-archive-keyring");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    let log = scratch.join("apt.log");
    let root = Root::find(&log).ok_or_else(|| RigError::PackagesMissing {
        packages: packages.clone(),
        command: format!("apt-get install --no-install-recommends {packages}"),
    })?;
    say(&format!("installing {packages}"));
    apt_update(&root, &log)?;
    root.tool("apt-get", &log)
        .args(["install", "-y", "--no-install-recommends", LOCK_WAIT])
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run(INSTALL_LIMIT)?;
    Ok(())
}

fn apt_update(root: &Root, log: &Path) -> Result<(), RigError> {
    root.tool("apt-get", log).args(["update", LOCK_WAIT]).run(INSTALL_LIMIT).map(drop)
}

/// Returns the archive of a release, as the lines of a sources.list: the machine's own of Debian 12, and the same
/// place's main suite of another release.
pub(crate) fn archive(release: Release, scratch: &Path) -> Result<String, RigError> {
    let own = own_archive(scratch)?;
    Ok(if release.suite() == OWN_SUITE { own } else { main_suite(&own, release.suite()) })
}

/// Returns the main suite of another release at the places that `sources` names.
fn main_suite(sources: &str, suite: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in sources.lines().filter(|line| !line.contains("-updates") && !line.contains("-security")) {
        let fields: Vec<&str> = line.split(' ').collect();
        if let [deb, signed, site, _, component] = fields[..] {
            lines.push(format!("{deb} {signed} {site} {suite} {component}\n"));
        }
    }
    lines.concat()
}

/// Returns the machine's own archive of Debian 12.
fn own_archive(scratch: &Path) -> Result<String, RigError> {
    let log = scratch.join("apt.log");
    let list = || {
        Tool::plain("apt-get", &log)
            .args(["indextargets", "--format", "$(CREATED_BY) $(CODENAME) $(SITE) $(RELEASE) $(COMPONENT)"])
            .run(INSTALL_LIMIT)
    };
    let lines = sources(&list()?);
    if !lines.is_empty() {
        return Ok(lines);
    }
    // A machine that never ran `apt-get update` does not know its suites' code names.
    if let Some(root) = Root::find(&scratch.join("sudo.log")) {
        apt_update(&root, &log)?;
    }
    let lines = sources(&list()?);
    if lines.is_empty() { Err(RigError::NoBookworm) } else { Ok(lines) }
}

/// Lines of a sources.list out of apt's index targets.
fn sources(targets: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for target in targets.lines() {
        let fields: Vec<&str> = target.split(' ').collect();
        let ["Packages", codename, site, release, component] = fields[..] else { continue };
        if SUITES.contains(&codename) && component == "main" {
            let line = format!("deb [signed-by={KEYRING}] {site} {release} {component}\n");
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    if lines.iter().any(|line| !line.contains("-updates") && !line.contains("-security")) {
        lines.concat()
    } else {
        String::new()
    }
}

/// Returns the machine's apt settings that reach its archive (proxies and the like), one per element.
fn network_settings(dump: &str) -> Vec<String> {
    dump.lines()
        .filter(|line| {
            NETWORK_SETTINGS.iter().any(|name| line.starts_with(name)) && !line.ends_with(" \"\";")
        })
        .map(str::to_owned)
        .collect()
}

/// Unpacks packages of `suite` and all they depend on into `tree`, without configuring them.
pub(crate) fn unpack(
    suite: &str,
    packages: &[&str],
    tree: &Path,
    archive: &str,
    scratch: &Path,
    limit: Duration,
) -> Result<(), RigError> {
    let name = tree.file_name().unwrap_or_default().to_string_lossy();
    let list = scratch.join(format!("{name}.sources.list"));
    let log = scratch.join(format!("{name}.log"));
    fs::write(&list, archive).file("write", &list)?;
    let dump = Tool::plain("apt-config", &log).arg("dump").run(Duration::from_secs(60))?;
    let root = Root::find(&log).ok_or(RigError::RootNeeded { what: "unpacking Debian's packages" })?;
    let mut tool = root
        .tool("mmdebstrap", &log)
        .args(["--mode=root", "--variant=extract", "--aptopt=APT::Install-Recommends \"false\""])
        .arg("--aptopt=Acquire::Retries \"3\"")
        .arg(format!("--include={}", packages.join(",")));
    for setting in network_settings(&dump) {
        tool = tool.arg(format!("--aptopt={setting}"));
    }
    tool.arg(suite).arg(tree).arg(&list).run(limit)?;
    root.hand_over(tree, &log)
}

/// Fails if the file system of `dir` has less than `needed_mib` free.
pub(crate) fn check_space(dir: &Path, what: &'static str, needed_mib: u64) -> Result<(), RigError> {
    let stat = rustix::fs::statvfs(dir).map_err(std::io::Error::from).file("find free space of", dir)?;
    let free_mib = stat.f_bavail.saturating_mul(stat.f_frsize) >> 20;
    if free_mib < needed_mib {
        return Err(RigError::DiskSpace { path: dir.to_owned(), what, needed_mib, free_mib });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "\
Packages bookworm http://mirror/debian oldstable main
DEP-11 bookworm http://mirror/debian oldstable main
Packages bookworm-updates http://mirror/debian bookworm-updates main
Packages bookworm-security http://mirror/debian-security bookworm-security main
Packages bookworm-backports http://mirror/debian bookworm-backports main
Packages bookworm http://other/tool bookworm contrib
";

    #[test]
    fn sources_are_those_of_bookworm_only() {
        assert_eq!(
            sources(TARGETS),
            format!(
                "deb [signed-by={KEYRING}] http://mirror/debian oldstable main\n\
                 deb [signed-by={KEYRING}] http://mirror/debian bookworm-updates main\n\
                 deb [signed-by={KEYRING}] http://mirror/debian-security bookworm-security main\n"
            )
        );
        assert_eq!(sources("Packages trixie http://mirror/debian trixie main\n"), "");
    }

    #[test]
    fn another_release_comes_from_the_same_place() {
        assert_eq!(
            main_suite(&sources(TARGETS), "trixie"),
            format!("deb [signed-by={KEYRING}] http://mirror/debian trixie main\n")
        );
    }

    #[test]
    fn an_archive_without_the_main_suite_is_none() {
        assert_eq!(sources("Packages bookworm-security http://m/s bookworm-security main\n"), "");
    }

    #[test]
    fn proxies_are_taken_over() {
        let dump = "Acquire \"\";\nAcquire::http::Proxy \"http://p:1\";\nAcquire::Languages \"none\";\n\
                    Acquire::http \"\";\nAcquire::Check-Date \"false\";\n";
        assert_eq!(
            network_settings(dump),
            ["Acquire::http::Proxy \"http://p:1\";", "Acquire::Check-Date \"false\";"]
        );
    }

    #[test]
    fn too_little_space_is_an_error_that_names_both_sizes() {
        let error = check_space(&env::temp_dir(), "a test", u64::MAX >> 21).unwrap_err();
        assert!(matches!(error, RigError::DiskSpace { .. }));
        assert!(error.to_string().contains("MiB free"));
    }
}
