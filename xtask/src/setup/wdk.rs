//! The stand-in for an installed WDK: mingw-w64's headers, the overlay and import libraries, laid out as
//! wdk-build looks for them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::import_libraries;
use crate::{
    folder::{Inputs, link, make_folder, sorted_entries},
    layout::Layout,
    step::step,
};

/// The WDK version the folders claim; wdk-build takes the highest it finds.
const VERSION: &str = "10.0.0.0";
/// The folder of the headers of Debian's mingw-w64-common.
const MINGW_HEADERS: &str = "/usr/share/mingw-w64/include";

/// Makes the folder unless it is up to date.
pub(super) fn ensure(layout: &Layout) -> Result<()> {
    let sources = layout.cross_sources();
    let inputs = Inputs::default().text(VERSION).folder(&sources)?.folder(&sources.join("overlay"))?;
    make_folder(&layout.wdk(), inputs, |wdk| {
        step("wdk: headers and import libraries", || make(wdk, &sources))
    })?;
    Ok(())
}

fn make(wdk: &Path, sources: &Path) -> Result<()> {
    let headers = wdk.join("Include").join(VERSION);
    let libraries = wdk.join("Lib").join(VERSION).join("km").join("x64");
    fs::create_dir_all(headers.join("km"))?;
    fs::create_dir_all(&libraries)?;

    // wdk-build's include order is km/crt, km, shared.
    link(&sources.join("overlay"), &headers.join("km/crt"))?;
    for header in sorted_entries(&Path::new(MINGW_HEADERS).join("ddk"))? {
        if let Some(name) = header.file_name() {
            link(&header, &headers.join("km").join(name))?;
        }
    }
    link(Path::new(MINGW_HEADERS), &headers.join("shared"))?;

    let definitions: Vec<PathBuf> = sorted_entries(sources)?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "def"))
        .collect();
    import_libraries::make(&definitions, &libraries)
}
