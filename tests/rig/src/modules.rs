//! The modules of a Debian kernel: those that are wanted, with what they need, in the order in which they
//! load.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::Tool;
use crate::error::{FileContext, RigError};
use crate::host;

const STEP_LIMIT: Duration = Duration::from_secs(300);
/// Names of the modules in order, beside them.
pub(crate) const ORDER: &str = "modules/order";

/// Returns the one file of `dir` whose name starts and ends so.
pub(crate) fn only(dir: &Path, start: &str, end: &str) -> Result<PathBuf, RigError> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .file("list", dir)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(start) && name.ends_with(end))
        .collect();
    names.sort();
    match names.pop() {
        Some(name) => Ok(dir.join(name)),
        None => {
            Err(RigError::TreeIncomplete { what: "unpacked tree", path: dir.join(format!("{start}*{end}")) })
        }
    }
}

/// Copies the modules that these need, and themselves, into `part`, with their order.
pub(crate) fn take(tree: &Path, part: &Path, scratch: &Path, names: &[&str]) -> Result<(), RigError> {
    let modules = tree.join("usr/lib/modules");
    let release = only(&modules, "", "-amd64")?;
    let name = release.file_name().unwrap_or_default().to_owned();
    Tool::plain(host::find("depmod").unwrap_or_else(|| "depmod".into()), &scratch.join("depmod.log"))
        .arg("-b")
        .arg(tree)
        .arg(name)
        .run(STEP_LIMIT)?;
    let path = release.join("modules.dep");
    let dep = fs::read_to_string(&path).file("read", &path)?;
    let path = release.join("modules.builtin");
    let builtin = fs::read_to_string(&path).file("read", &path)?;
    let order = load_order(&dep, &builtin, names).map_err(|name| RigError::TreeIncomplete {
        what: "unpacked tree",
        path: release.join(format!("{name}.ko")),
    })?;
    let target = part.join("modules");
    fs::create_dir_all(&target).file("create", &target)?;
    let mut list = String::new();
    for module in order {
        let from = release.join(&module);
        let name = base_name(&module).trim_end_matches(".xz");
        fs::copy(&from, target.join(base_name(&module))).file("copy", &from)?;
        if module.ends_with(".xz") {
            // dom0's busybox loads what it is given, so the modules are unpacked here.
            Tool::plain("xz", &scratch.join("xz.log"))
                .args(["--decompress", "--force"])
                .arg(target.join(base_name(&module)))
                .run(STEP_LIMIT)?;
        }
        list += name;
        list.push('\n');
    }
    let path = part.join(ORDER);
    fs::write(&path, list).file("write", path)
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Paths of the modules to load, each after those it needs. `dep` and `builtin` are modules.dep and
/// modules.builtin, `names` what is wanted; the error is the name of a module that is in neither.
fn load_order(dep: &str, builtin: &str, names: &[&str]) -> Result<Vec<String>, String> {
    let key = |path: &str| base_name(path).trim_end_matches(".xz").trim_end_matches(".ko").replace('-', "_");
    let needs: HashMap<String, (&str, Vec<&str>)> = dep
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(module, needs)| (key(module), (module, needs.split_whitespace().collect())))
        .collect();
    let built_in: Vec<String> = builtin.lines().map(key).collect();
    let mut order: Vec<String> = Vec::new();
    let mut add = |path: &str| {
        if !order.iter().any(|known| known == path) {
            order.push(path.to_owned());
        }
    };
    for &name in names {
        match needs.get(&key(name)) {
            // modules.dep lists what a module needs from the nearest to the farthest.
            Some((module, needs)) => needs.iter().rev().chain([module]).for_each(|path| add(path)),
            None if built_in.contains(&key(name)) => {}
            None => return Err(name.to_owned()),
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOM0: [&str; 11] = [
        "virtio_pci",
        "virtio_blk",
        "crc32c_generic",
        "ext4",
        "xen-evtchn",
        "xen-gntdev",
        "xen-gntalloc",
        "xen-privcmd",
        "xenfs",
        "xen-blkback",
        "loop",
    ];

    #[test]
    fn modules_come_after_what_they_need_and_once() {
        let dep = "kernel/virtio.ko:\nkernel/ring.ko: kernel/virtio.ko\n\
                   kernel/virtio_pci.ko: kernel/ring.ko kernel/virtio.ko\n\
                   kernel/virtio_blk.ko: kernel/ring.ko kernel/virtio.ko\nkernel/crc32c_generic.ko:\nkernel/ext4.ko:\n\
                   kernel/xen-blkback.ko: kernel/xen-privcmd.ko\nkernel/xen-privcmd.ko:\n\
                   kernel/xen-evtchn.ko:\nkernel/xen-gntdev.ko:\nkernel/xen-gntalloc.ko:\nkernel/xenfs.ko:\n";
        let order = load_order(dep, "kernel/drivers/block/loop.ko\n", &DOM0).unwrap();
        assert_eq!(
            order[..5],
            [
                "kernel/virtio.ko",
                "kernel/ring.ko",
                "kernel/virtio_pci.ko",
                "kernel/virtio_blk.ko",
                "kernel/crc32c_generic.ko"
            ]
        );
        let at = |name: &str| order.iter().position(|m| m.ends_with(name)).unwrap();
        assert!(at("xen-privcmd.ko") < at("xen-blkback.ko"));
        assert_eq!(order.len(), 12, "{order:?}");
    }

    #[test]
    fn an_absent_module_is_named() {
        assert_eq!(load_order("", "", &DOM0).unwrap_err(), "virtio_pci");
    }
}
