//! Parts that the build scripts of the drivers and of the service share: link arguments, exports and resources.
//!
//! A driver's `build.rs` is two calls, the first for the WDK's own arguments:
//!
//! ```text
//! fn main() -> Result<(), driver_build::Error> {
//!     wdk_build::configure_wdk_binary_build()?;
//!     driver_build::configure()
//! }
//! ```
//!
//! The driver's name, version and description come from its `Cargo.toml`; what it exports comes from
//! `cross/exports/<name>.def`, the same file its import library is made from.

mod exports;
mod llvm;
mod message_table;
mod resources;

use std::{
    env,
    path::{Path, PathBuf},
};

/// The reason why a driver could not be configured.
pub type Error = Box<dyn std::error::Error>;

/// Link arguments of every driver, beside those of wdk-build.
///
/// The subsystem and OS version are those of NT 5.2: an older number than the running system's is
/// accepted by every later loader, a newer one by none before it.
const LINK_ARGUMENTS: &[&str] = &[
    // Discardable: freed once DriverEntry has returned.
    "/SECTION:INIT,ERD",
    "/SUBSYSTEM:NATIVE,5.02",
    "/OSVERSION:5.02",
    "/DEBUG:FULL",
    // Sets the header's checksum, without which the loader refuses a boot driver.
    "/RELEASE",
    // No time stamps: equal sources give equal bytes.
    "/Brepro",
    // The image names its symbol file, not the folder it was built in.
    "/PDBALTPATH:%_PDB%",
];

/// Configures the calling package as a driver of this project.
///
/// # Errors
/// When the driver's `.def` file is malformed, or `llvm-rc` or `llvm-dlltool` is missing or fails.
pub fn configure() -> Result<(), Error> {
    let name = env::var("CARGO_PKG_NAME")?;
    let output = PathBuf::from(env::var("OUT_DIR")?);
    let definitions =
        workspace_root(Path::new(&env::var("CARGO_MANIFEST_DIR")?))?.join("cross").join("exports");
    println!("cargo::rerun-if-changed={}", definitions.display());

    for argument in LINK_ARGUMENTS {
        link_argument(argument);
    }
    for export in exports::of(&name, &definitions)? {
        link_argument(&format!("/EXPORT:{export}"));
    }
    exports::make_import_libraries(&definitions, &output)?;
    println!("cargo::rustc-link-search=native={}", output.display());

    let strings = resources::Strings {
        name: &name,
        version: &env::var("CARGO_PKG_VERSION")?,
        description: &env::var("CARGO_PKG_DESCRIPTION")?,
        kind: resources::Kind::Driver,
    };
    let resource = resources::compile(&strings, &message_table::of_reasons(), &output)?;
    link_argument(resource.to_str().ok_or("the output folder's path is not UTF-8")?);
    Ok(())
}

/// Configures the calling package's program, a Windows service or command: its version, and the messages that it writes
/// into the event log, each a code and a text. Does nothing where the package is built for another system.
///
/// # Errors
/// When `llvm-rc` is missing or fails.
pub fn configure_program(name: &str, messages: Vec<(u32, String)>) -> Result<(), Error> {
    println!("cargo::rerun-if-changed=src/message.rs");
    if env::var("CARGO_CFG_WINDOWS").is_err() {
        return Ok(());
    }
    let strings = resources::Strings {
        name,
        version: &env::var("CARGO_PKG_VERSION")?,
        description: &env::var("CARGO_PKG_DESCRIPTION")?,
        kind: resources::Kind::Program,
    };
    let resource =
        resources::compile(&strings, &message_table::table(messages), &PathBuf::from(env::var("OUT_DIR")?))?;
    let resource = resource.to_str().ok_or("the output folder's path is not UTF-8")?;
    println!("cargo::rustc-link-arg-bins={resource}");
    Ok(())
}

fn link_argument(argument: &str) {
    println!("cargo::rustc-cdylib-link-arg={argument}");
}

/// Returns the folder above `package` that holds the workspace's lock file.
fn workspace_root(package: &Path) -> Result<PathBuf, Error> {
    let root = package.ancestors().find(|folder| folder.join("Cargo.lock").exists());
    Ok(root.ok_or("no Cargo.lock above the driver's folder")?.to_path_buf())
}
