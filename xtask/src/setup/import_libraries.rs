//! Import libraries, made from module definition files.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::LLVM_BIN;
use crate::command;

/// Makes `<name>.lib` in `folder` for each `<name>.def`.
pub fn make(definitions: &[PathBuf], folder: &Path) -> Result<()> {
    let tools = Path::new(LLVM_BIN);
    for definition in definitions {
        let name = definition.file_stem().unwrap_or_default();
        let library = folder.join(name).with_extension("lib");
        command::output(
            Command::new(tools.join("llvm-dlltool"))
                .args(["-m", "i386:x86-64", "-d"])
                .arg(definition)
                .arg("-l")
                .arg(&library),
        )?;
    }
    // wdk-build links it into every driver; with no C code there are no stack cookies to check.
    let empty = folder.join("BufferOverflowFastFailK.lib");
    command::output(
        Command::new(tools.join("llvm-lib")).arg("/llvmlibempty").arg(format!("/out:{}", empty.display())),
    )?;
    Ok(())
}
