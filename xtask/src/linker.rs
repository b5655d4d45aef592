//! The drivers' linker: rust-lld, run so that what it writes does not depend on where it runs.
//!
//! rustc passes absolute paths, some in temporary folders with random names, and lld records each of them
//! in the `.pdb`. So rustc starts this program, which gathers the inputs as links in one folder, runs lld
//! in it with relative names, and puts the outputs where rustc expects them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    command,
    folder::{link, remove_folder, sorted_entries},
    setup::Toolchain,
};

/// Set in a cross build: the linker to run. It is what tells this program that rustc started it.
const LINKER: &str = "XENGUARD_LINKER";

/// The path that stands for the folder lld runs in, in symbol files.
const SOURCE_PATH: &str = "/xenguard/link";

/// Makes `cargo` link by this program.
pub(crate) fn use_for(cargo: &mut Command) -> Result<()> {
    let linker = Toolchain::ask()?.rust_lld()?;
    let this = env::current_exe().context("cannot find this program's own file")?;
    cargo.env("CARGO_TARGET_X86_64_PC_WINDOWS_MSVC_LINKER", this).env(LINKER, linker);
    Ok(())
}

/// Returns true if rustc started this program to link.
pub fn is_called_as_linker() -> bool {
    env::var_os(LINKER).is_some()
}

/// Links with the arguments this program was started with.
///
/// # Errors
/// When an argument is not understood, or lld fails.
pub fn run() -> Result<()> {
    let linker = env::var_os(LINKER).context("no linker named")?;
    let arguments = arguments(env::args().skip(1))?;
    let plan = Plan::of(arguments)?;

    let folder = plan.output.with_extension("link");
    remove_folder(&folder)?;
    fs::create_dir_all(&folder)?;
    for (name, original) in &plan.inputs {
        link(original, &folder.join(name))?;
    }

    let mut lld = Command::new(linker);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::arg0(&mut lld, "lld-link");
    lld.args(&plan.arguments).arg(format!("/PDBSOURCEPATH:{SOURCE_PATH}")).current_dir(&folder);
    command::run(&mut lld)?;

    let place = plan.output.parent().context("an output without a folder")?;
    for made in sorted_entries(&folder)?.into_iter().filter(|path| !path.is_symlink()) {
        fs::rename(&made, place.join(made.file_name().unwrap_or_default()))?;
    }
    remove_folder(&folder)
}

/// Returns the arguments, with those of response files (`@file`, one quoted argument per line) in their
/// place.
fn arguments(given: impl Iterator<Item = String>) -> Result<Vec<String>> {
    let mut arguments = Vec::new();
    for argument in given {
        let Some(file) = argument.strip_prefix('@') else {
            arguments.push(argument);
            continue;
        };
        let bytes = fs::read(file).with_context(|| format!("cannot read {file}"))?;
        let text = decode(&bytes).with_context(|| format!("{file} is not text"))?;
        arguments.extend(text.lines().map(|line| line.trim_matches('"').replace("\\\"", "\"")));
    }
    Ok(arguments)
}

/// Returns a response file's text: UTF-16 with a byte order mark, as rustc writes it for link.exe, or UTF-8.
fn decode(bytes: &[u8]) -> Option<String> {
    match bytes.strip_prefix(&[0xff, 0xfe]) {
        Some(utf16) => {
            let units: Vec<_> =
                utf16.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
            String::from_utf16(&units).ok()
        }
        None => String::from_utf8(bytes.to_vec()).ok(),
    }
}

/// A run of lld, in a folder of its own.
#[derive(Debug, Default)]
struct Plan {
    /// Names in the folder, and what they stand for.
    inputs: Vec<(String, PathBuf)>,
    /// Without any path.
    arguments: Vec<String>,
    /// The path at which rustc expects the image.
    output: PathBuf,
}

impl Plan {
    fn of(arguments: Vec<String>) -> Result<Self> {
        let mut plan = Self::default();
        for argument in arguments {
            plan.take(&argument)?;
        }
        if plan.output.as_os_str().is_empty() {
            bail!("the linker was started without /OUT");
        }
        Ok(plan)
    }

    fn take(&mut self, argument: &str) -> Result<()> {
        let (option, value) = match argument.split_once(':') {
            Some((option, value)) if option.starts_with('/') => (option, value),
            _ => ("", argument),
        };
        match option {
            // rustc's list of every unmangled symbol, DriverEntry among them. The drivers' build scripts
            // name what is exported.
            "/DEF" => {}
            "/OUT" => {
                self.output = value.into();
                self.arguments.push(format!("/OUT:{}", file_name(value)?));
            }
            "/IMPLIB" => self.arguments.push(format!("/IMPLIB:{}", file_name(value)?)),
            "/LIBPATH" => {
                let name = self.add_input(Path::new(value), "libraries");
                self.arguments.push(format!("/LIBPATH:{name}"));
            }
            "/NATVIS" => {
                let name = self.add_input(Path::new(value), file_name(value)?);
                self.arguments.push(format!("/NATVIS:{name}"));
            }
            "" if Path::new(argument).is_file() => {
                let name = self.add_input(Path::new(argument), file_name(argument)?);
                self.arguments.push(name);
            }
            _ => self.arguments.push(argument.to_owned()),
        }
        Ok(())
    }

    /// Adds an input as `name`, or as `name` with a number where that is taken, and returns its name.
    fn add_input(&mut self, original: &Path, name: &str) -> String {
        let taken = |name: &str| self.inputs.iter().any(|(other, _)| other == name);
        let numbered = (2..).map(|number| format!("{number}-{name}"));
        let name =
            std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default();
        self.inputs.push((name.clone(), original.to_owned()));
        name
    }
}

fn file_name(path: &str) -> Result<&str> {
    let name = Path::new(path).file_name().and_then(|name| name.to_str());
    name.with_context(|| format!("{path} names no file"))
}

#[cfg(test)]
mod tests {
    use super::{Plan, arguments, decode};

    fn plan(arguments: &[&str]) -> Plan {
        Plan::of(arguments.iter().map(|argument| (*argument).to_owned()).collect()).unwrap()
    }

    #[test]
    fn no_path_is_left_in_the_arguments() {
        let input = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let plan = plan(&[
            "/NOLOGO",
            input,
            "/LIBPATH:/a/lib",
            "/LIBPATH:/b/lib",
            "/OUT:/o/x.dll",
            "/DEF:/t/lib.def",
        ]);
        assert_eq!(
            plan.arguments,
            ["/NOLOGO", "Cargo.toml", "/LIBPATH:libraries", "/LIBPATH:2-libraries", "/OUT:x.dll"]
        );
        assert_eq!(plan.output, std::path::Path::new("/o/x.dll"));
    }

    #[test]
    fn inputs_of_one_name_stay_apart() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let plan = plan(&[file, file, "/OUT:/o/x.dll"]);
        assert_eq!(plan.arguments[..2], ["Cargo.toml", "2-Cargo.toml"]);
    }

    #[test]
    fn a_call_without_output_is_refused() {
        assert!(Plan::of(vec!["/NOLOGO".to_owned()]).is_err());
    }

    #[test]
    fn response_files_are_read_in_either_encoding() {
        let utf16: Vec<u8> = [0xfeff, u16::from(b'/'), u16::from(b'A')]
            .iter()
            .flat_map(|unit: &u16| unit.to_le_bytes())
            .collect();
        assert_eq!(decode(&utf16).as_deref(), Some("/A"));
        assert_eq!(decode(b"/A").as_deref(), Some("/A"));
        assert!(arguments(["@/nonexistent".to_owned()].into_iter()).is_err());
    }
}
