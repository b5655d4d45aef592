//! `xenguard.exe` in Wine: attributes of boot.ini, the registry of a running system, and a stand-in for
//! bcdedit that records its calls.
//!
//! What runs is the shipped program, with the routines of `cross/nt52` in the place of those that NT 5.2 has
//! not.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{layout::Layout, wine::Wine};

const BOOT_INI: &str = "[boot loader]\r\ntimeout=30\r\ndefault=multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS\r\n\
    [operating systems]\r\nmulti(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"Windows\" /fastdetect\r\n";
const PV_LINE: &str =
    "multi(0)disk(0)rdisk(0)partition(1)\\WINDOWS=\"Windows (PV disks)\" /fastdetect /GPLPV\r\n";

/// Runs it.
///
/// # Errors
/// Wine or the program is not there, or something differs from what must be seen.
pub(crate) fn run(layout: &Layout) -> Result<()> {
    let wine = Wine::new("bootcfg")?;
    let read = |path: std::path::PathBuf| {
        fs::read(&path).with_context(|| format!("cannot read {}; cargo xtask build makes it", path.display()))
    };
    wine.put("xenguard.exe", read(layout.dist().join("xenguard.exe"))?)?;
    for example in ["bcdedit.exe", "edits.exe"] {
        wine.put(example, read(layout.nt().join(example))?)?;
    }
    let result = boot_ini(&wine)
        .and_then(|()| registry(&wine))
        .and_then(|()| store(&wine))
        .and_then(|()| rescue(&wine));
    // The calls of bcdedit, for a reader.
    let kept = layout.target().join("guests/bootcfg-wine");
    fs::create_dir_all(&kept)?;
    fs::write(kept.join("console.txt"), fs::read(wine.folder("log")).unwrap_or_default())?;
    result
}

/// Runs bootcfg and returns the document it prints, which has the exit code too.
fn bootcfg(wine: &Wine, arguments: &[&str]) -> Result<Value> {
    let line = [&["wine", "C:\\xenguard.exe", "--json"], arguments].concat();
    let mut command = wine.command(&line);
    command.env("WINEDEBUG", "-all").env("STANDIN_STORE", "C:\\BCD").env("STANDIN_LOG", "C:\\log");
    let output = command.output().context("cannot start wine")?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        let said = [output.stdout, output.stderr].concat();
        format!("{}: {}: {}", arguments.join(" "), output.status, String::from_utf8_lossy(&said))
    })
}

/// Runs [`bootcfg`], which must end with exit code 0. Returns the document's result.
fn done(wine: &Wine, arguments: &[&str]) -> Result<Value> {
    let mut value = bootcfg(wine, arguments)?;
    ensure!(value["exit"] == 0, "{}: {value}", arguments.join(" "));
    Ok(value["result"].take())
}

fn boot_ini(wine: &Wine) -> Result<()> {
    wine.put("boot.ini", BOOT_INI)?;
    // Wine's attrib takes one at a time. It keeps the last two in an extended attribute, which only a
    // writable file takes.
    for attribute in ["+h", "+s", "+r"] {
        wine.run(&["wine", "cmd", "/c", "attrib", attribute, "C:\\boot.ini"])?;
    }
    done(wine, &["--root", "C:\\", "add"])?;
    let path = wine.folder("boot.ini");
    ensure!(
        fs::read_to_string(&path)? == [BOOT_INI, PV_LINE].concat(),
        "boot.ini is {}",
        fs::read_to_string(&path)?
    );
    let shown = wine.run(&["wine", "cmd", "/c", "attrib", "C:\\boot.ini"])?;
    let attributes = shown.split("C:").next().unwrap_or_default();
    for attribute in ['R', 'H', 'S'] {
        ensure!(attributes.contains(attribute), "boot.ini has lost the attribute {attribute}: {shown}");
    }
    let refused = bootcfg(wine, &["--root", "C:\\", "try"])?;
    ensure!(refused["exit"] == 3, "try on boot.ini: {refused}");
    done(wine, &["--root", "C:\\", "--yes", "remove"])?;
    ensure!(fs::read_to_string(&path)? == BOOT_INI, "removed: {}", fs::read_to_string(&path)?);
    done(wine, &["--root", "C:\\", "--yes", "restore"])?;
    ensure!(
        fs::read_to_string(&path)? == [BOOT_INI, PV_LINE].concat(),
        "restored: {}",
        fs::read_to_string(&path)?
    );
    Ok(())
}

/// Checks that the running system's registry is read: without `--root` and with neither file named. Fast
/// startup goes off.
fn registry(wine: &Wine) -> Result<()> {
    let key = "HKEY_LOCAL_MACHINE\\System\\CurrentControlSet";
    wine.put(
        "state.reg",
        format!(
            "REGEDIT4\n\n[{key}\\Control]\n\"SystemStartOptions\"=\" FASTDETECT GPLPV\"\n\
             [{key}\\Control\\Session Manager\\Power]\n\"HiberbootEnabled\"=dword:1\n\
             [{key}\\Control\\SecureBoot\\State]\n\"UEFISecureBootEnabled\"=dword:1\n\
             [{key}\\Services\\idefilter]\n\"Start\"=dword:0\n[{key}\\Services\\xenpci]\n\"Start\"=dword:4\n\
             [{key}\\Services\\idefilter\\Status]\n\"Reason\"=dword:18\n"
        ),
    )?;
    wine.run(&["wine", "regedit", "/S", "C:\\state.reg"])?;
    wine.put("BCD", bcd().hive("NewStoreRoot"))?;
    let status = done(wine, &["--bcdedit", "C:\\bcdedit.exe", "status"])?;
    let system = &status["system"];
    let states = &status["drivers"]["states"];
    let idefilter = states["idefilter"].as_str().unwrap_or_default();
    ensure!(idefilter.contains("idefilter.sys is missing"), "{status}");
    ensure!(states["xenpci"] == "disabled" && states["xenvbd"] == "not installed", "{status}");
    ensure!(system["fast_startup"]["answer"] == "yes" && system["bitlocker"]["answer"] == "no", "{status}");
    let guard = "the boot disk has no PV counterpart (reason 0x18)";
    for (fact, start) in [("this_boot", "PV entry chosen"), ("guard", guard), ("secure_boot", "on:")] {
        let text = system[fact]["text"].as_str();
        ensure!(text.is_some_and(|text| text.starts_with(start)), "{fact}: {status}");
    }
    let log = bootcfg(wine, &["log"])?;
    let error = log["error"].as_str().unwrap_or_default();
    ensure!(log["exit"] == 3 && error.contains("no device offers xenpci's channel"), "{log}");
    let asked = bootcfg(wine, &["--bcdedit", "C:\\bcdedit.exe", "add"])?;
    ensure!(asked["exit"] == 9, "Secure Boot is on, and nobody was asked: {asked}");
    Ok(())
}

/// Checks a store, live and offline, through the stand-in.
fn store(wine: &Wine) -> Result<()> {
    let live =
        |arguments: &[&str]| done(wine, &[&["--bcdedit", "C:\\bcdedit.exe", "--yes"], arguments].concat());
    let before = bootcfg::bcd::Bcd::read(&fs::read(wine.folder("BCD"))?)?;
    live(&["add", "--name", "PV"])?;
    let status = live(&["status"])?;
    ensure!(status["system"]["fast_startup"]["answer"] == "no", "fast startup is still on: {status}");
    ensure!(status["entries"][1]["options"] == "X GPLPV", "{status}");
    let refused = bootcfg(wine, &["--bcdedit", "C:\\bcdedit.exe", "--yes", "try"])?;
    ensure!(refused["exit"] == 3, "a PV boot without drivers was not refused: {refused}");
    live(&["remove"])?;
    let log = fs::read_to_string(wine.folder("log"))?;
    let calls: Vec<_> =
        log.lines().filter_map(|line| line.split(' ').next()).filter(|call| *call != "/export").collect();
    let expected = ["/copy", "/set", "/displayorder", "/delete"];
    if calls != expected {
        bail!("bcdedit was called {calls:?}, expected {expected:?}");
    }
    let after = bootcfg::bcd::Bcd::read(&fs::read(wine.folder("BCD"))?)?;
    ensure!(after == before, "the store differs:\n{}\n{}", before.dump(), after.dump());
    Ok(())
}

/// Checks another Windows' volume, as from WinPE: it is looked at and a dry run is made. Wine loads no binary
/// hives, so that the edit itself is refused there, and nothing may have changed. The edits are made in the
/// registry.
fn rescue(wine: &Wine) -> Result<()> {
    use hive::build::Tree;
    let service = || Tree::new().with_dword("Start", 0).with_text("DisplayName", "Xenguard");
    let mut tree = Tree::new().with_key("Select", Tree::new().with_dword("Current", 1));
    for name in ["idefilter", "idefallback", "xenpci", "xenvbd"] {
        tree = tree.with_key(&format!("ControlSet001\\Services\\{name}"), service());
    }
    let filters = Tree::new().with_texts("UpperFilters", &["idefilter"]);
    let tree =
        tree.with_key("ControlSet001\\Control\\Class\\{4D36E97D-E325-11CE-BFC1-08002BE10318}", filters);
    let hive = tree.hive("SYSTEM");
    for folder in ["volume/Windows/System32/config", "volume/Windows/System32/drivers"] {
        wine.make_folder(folder)?;
    }
    let (system, driver) =
        ("volume/Windows/System32/config/SYSTEM", "volume/Windows/System32/drivers/idefilter.sys");
    wine.put(system, &hive)?;
    wine.put(driver, b"driver")?;
    wine.put("volume/boot.ini", [BOOT_INI, PV_LINE].concat())?;
    let dry = done(wine, &["--root", "C:\\volume", "--dry-run", "uninstall"])?;
    ensure!(dry["edits"].as_u64().is_some_and(|edits| edits >= 5), "dry run: {dry}");
    let status = done(wine, &["--root", "C:\\volume", "status"])?;
    ensure!(status["entries"][1]["disks"] == "pv", "status: {status}");
    let refused = bootcfg(wine, &["--root", "C:\\volume", "--yes", "uninstall"])?;
    ensure!(refused["exit"] == 8 || refused["exit"] == 7, "Wine has loaded a hive: {refused}");
    let error = refused["error"].as_str().unwrap_or_default();
    ensure!(error.contains("load the hive") || error.contains("Privilege"), "uninstall: {refused}");
    ensure!(fs::read(wine.folder(system))? == hive, "a refused edit changed the hive");
    ensure!(wine.folder(driver).exists(), "a refused edit removed a driver");

    wine.run(&["wine", "C:\\edits.exe"])?;
    let made = wine.run(&["wine", "reg", "query", "HKLM\\Software\\bootcfg-edits", "/s"])?;
    for part in ["Services\\keep", "Start", "0x3", "UpperFilters", "one\\0two"] {
        ensure!(made.contains(part), "the edits lack {part}: {made}");
    }
    for part in ["Gone", "gone", "never"] {
        ensure!(!made.contains(part), "the edits left or made {part}: {made}");
    }
    Ok(())
}

/// Returns a store with one system.
fn bcd() -> hive::build::Tree {
    use hive::build::Tree;
    let text = |text: &str| Tree::new().with_text("Element", text);
    let loader = "{11111111-2222-3333-4444-555555555555}";
    let manager = format!("Objects\\{}", bootcfg::bcd::BOOT_MANAGER);
    let entry = format!("Objects\\{loader}");
    Tree::new()
        .with_key(&format!("{manager}\\Description"), Tree::new().with_dword("Type", 0x1010_0002))
        .with_key(&format!("{manager}\\Elements\\23000003"), text(loader))
        .with_key(&format!("{manager}\\Elements\\24000001"), Tree::new().with_texts("Element", &[loader]))
        .with_key(&format!("{entry}\\Description"), Tree::new().with_dword("Type", bootcfg::bcd::OS_LOADER))
        .with_key(&format!("{entry}\\Elements\\12000004"), text("Windows"))
        .with_key(&format!("{entry}\\Elements\\12000030"), text("X"))
}
