//! The drivers' exports: one module definition file each, in `cross/exports`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Error, llvm};

/// Returns the names that the driver `name` exports, none when it has no file in `folder`.
///
/// # Errors
/// When the file is malformed.
pub(crate) fn of(name: &str, folder: &Path) -> Result<Vec<String>, Error> {
    let file = folder.join(name).with_extension("def");
    if !file.exists() {
        return Ok(Vec::new());
    }
    parse(&fs::read_to_string(&file)?).map_err(|error| format!("{}: {error}", file.display()).into())
}

/// Makes import libraries of all drivers with a file in `folder`, in `output`.
///
/// # Errors
/// When `llvm-dlltool` is missing or fails.
pub(crate) fn make_import_libraries(folder: &Path, output: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(folder)? {
        let definitions = entry?.path();
        let name = definitions.file_stem().map(PathBuf::from).unwrap_or_default();
        llvm::run("llvm-dlltool", |command| {
            command.args(["-m", "i386:x86-64", "-d"]).arg(&definitions);
            command.arg("-l").arg(output.join(name).with_extension("lib"));
        })?;
    }
    Ok(())
}

/// Returns the names in the `EXPORTS` part of a module definition file.
///
/// Comments run from `;` to the end of a line; attributes after a name are ignored.
///
/// # Errors
/// When the text has no `EXPORTS` line, or no name after it.
fn parse(definitions: &str) -> Result<Vec<String>, Error> {
    let mut words = definitions.lines().filter_map(|line| line.split(';').next()?.split_whitespace().next());
    if !words.any(|word| word == "EXPORTS") {
        return Err("no EXPORTS line".into());
    }
    let names: Vec<_> = words.map(str::to_owned).collect();
    if names.is_empty() {
        return Err("nothing is exported".into());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_follow_the_exports_line() {
        let text = "; what it offers\nLIBRARY a.sys\nEXPORTS\nFirst\n  Second DATA ; read it\n\n";
        assert_eq!(parse(text).unwrap(), ["First", "Second"]);
    }

    #[test]
    fn a_file_without_exports_is_refused() {
        assert!(parse("LIBRARY a.sys\nFirst\n").is_err());
        assert!(parse("LIBRARY a.sys\nEXPORTS\n; nothing\n").is_err());
    }
}
