//! A Linux HVM guest that runs one program: Debian's kernel, the modules of the PV disk frontend, and the
//! program as process 1. No distribution is installed in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::{self, Key, State};
use crate::cpio::Cpio;
use crate::dom0::merge_usr;
use crate::error::{FileContext, RigError};
use crate::host;
use crate::modules::{self, ORDER, only};
use crate::release::Release;
use crate::workdir::WorkDir;

const PACKAGE: &str = "linux-image-amd64";
/// The frontend, and the way from a program to Xen.
const MODULES: [&str; 2] = ["xen-blkfront", "xen-privcmd"];
/// Counts changes of the recipe below that its other inputs do not show.
const RECIPE: &[u8] = b"1";
const KERNEL: &str = "vmlinuz";
const UNPACK_LIMIT: Duration = Duration::from_secs(1200);
/// Space that making it needs at its peak.
const SPACE_MIB: u64 = 1024;

/// The guest's kernel and modules.
#[derive(Clone, Debug)]
pub struct Linux {
    dir: PathBuf,
}

impl Linux {
    /// Makes sure that the kernel and its modules are under `<target>/rig/linux`. `say` receives a line for
    /// each step that takes time. The caller holds the rig's files (see [`crate::setup`]).
    ///
    /// # Errors
    ///
    /// As for [`crate::setup::everything`].
    pub fn ensure(target: &Path, say: &dyn Fn(&str)) -> Result<Self, RigError> {
        let base = target.join("rig");
        fs::create_dir_all(&base).file("create", &base)?;
        let base = base.canonicalize().file("find", base)?;
        let this = Self { dir: base.join("linux") };
        let key = Key::of(&[RECIPE, PACKAGE.as_bytes(), MODULES.join(" ").as_bytes()]);
        if cache::state(&this.dir, &key) == State::Good {
            return Ok(this);
        }
        host::check_space(&base, "a Linux guest's kernel", SPACE_MIB)?;
        let scratch = WorkDir::new(&base.join("work"))?;
        let scratch = scratch.path();
        say("Linux guest: unpacking its kernel");
        let archive = host::archive(Release::Xen417, scratch)?;
        cache::make(&this.dir, &key, |part| {
            let tree = scratch.join("linux-tree");
            host::unpack(Release::Xen417.suite(), &[PACKAGE], &tree, &archive, scratch, UNPACK_LIMIT)?;
            merge_usr(&tree)?;
            let kernel = only(&tree.join("boot"), "vmlinuz-", "-amd64")?;
            fs::copy(&kernel, part.join(KERNEL)).file("copy", kernel)?;
            modules::take(&tree, part, scratch, &MODULES)?;
            cache::remove(&tree)?;
            Ok(vec![KERNEL, ORDER])
        })?;
        Ok(this)
    }

    /// Returns the kernel, for [`crate::Job::kernel`].
    pub fn kernel(&self) -> PathBuf {
        self.dir.join(KERNEL)
    }

    /// Writes the initial file system, for [`crate::Job::module`]: `program` as `/init`, the modules and
    /// their order in `/modules`.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or written.
    pub fn write_initramfs(&self, program: &Path, into: &Path) -> Result<(), RigError> {
        let read = |path: PathBuf| fs::read(&path).file("read", path);
        let mut cpio = Cpio::default();
        cpio.directory("dev");
        cpio.directory("modules");
        cpio.file("init", 0o755, &read(program.to_owned())?);
        let order = read(self.dir.join(ORDER))?;
        cpio.file(ORDER, 0o644, &order);
        for module in String::from_utf8_lossy(&order).lines() {
            let name = format!("modules/{module}");
            cpio.file(&name, 0o644, &read(self.dir.join(&name))?);
        }
        fs::write(into, cpio.finish()).file("write", into)
    }
}
