//! The resources: the version (what Explorer, Device Manager and a crash dump call the driver) and the
//! messages that Event Viewer shows.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Error, llvm};

/// Kind of a file.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A driver, `.sys`.
    Driver,
    /// A program, `.exe`.
    Program,
}

/// The resource's strings, as the `Cargo.toml` has them.
pub(crate) struct Strings<'a> {
    /// File name without its extension.
    pub name: &'a str,
    /// `major.minor.patch`.
    pub version: &'a str,
    /// One line for people.
    pub description: &'a str,
    /// Kind of the file.
    pub kind: Kind,
}

/// Compiles version and message table into `folder` and returns the path of the `.res` file.
///
/// # Errors
/// When the version is not three numbers, or `llvm-rc` is missing or fails.
pub(crate) fn compile(strings: &Strings, table: &[u8], folder: &Path) -> Result<PathBuf, Error> {
    let source = folder.join("driver.rc");
    let compiled = folder.join("driver.res");
    let messages = folder.join("messages.bin");
    fs::write(&messages, table)?;
    // RT_MESSAGETABLE is 11; relative to the folder of the script.
    let script = format!("{}\n1 11 \"messages.bin\"\n", script(strings)?);
    fs::write(&source, script)?;

    llvm::run("llvm-rc", |command| {
        command.arg("/no-preprocess").arg("/FO").arg(&compiled).arg("--").arg(&source);
    })?;
    Ok(compiled)
}

/// Returns the resource script. The numbers are those of `winver.h`: VS_VERSION_INFO 1, VOS_NT_WINDOWS32
/// 0x40004, VFT_APP 1, VFT_DRV 3, VFT2_DRV_SYSTEM 7, language 0x0409 in code page 1200 (Unicode).
fn script(strings: &Strings) -> Result<String, Error> {
    let Strings { name, version, description, kind } = strings;
    let (file_type, subtype, extension) = match kind {
        Kind::Driver => (3, 7, "sys"),
        Kind::Program => (1, 0, "exe"),
    };
    let numbers = version.split('.').map(str::parse).collect::<Result<Vec<u16>, _>>()?;
    let [major, minor, patch] = numbers[..] else {
        return Err(format!("version {version} is not major.minor.patch").into());
    };
    let description = description.replace('"', "\"\"");
    Ok(format!(
        r#"1 VERSIONINFO
FILEVERSION {major},{minor},{patch},0
PRODUCTVERSION {major},{minor},{patch},0
FILEFLAGSMASK 0x3f
FILEFLAGS 0
FILEOS 0x40004
FILETYPE {file_type}
FILESUBTYPE {subtype}
BEGIN
  BLOCK "StringFileInfo"
  BEGIN
    BLOCK "040904b0"
    BEGIN
      VALUE "CompanyName", "Xenguard project"
      VALUE "FileDescription", "{description}"
      VALUE "FileVersion", "{version}"
      VALUE "InternalName", "{name}"
      VALUE "LegalCopyright", "MIT OR Apache-2.0"
      VALUE "OriginalFilename", "{name}.{extension}"
      VALUE "ProductName", "Xenguard"
      VALUE "ProductVersion", "{version}"
    END
  END
  BLOCK "VarFileInfo"
  BEGIN
    VALUE "Translation", 0x0409, 1200
  END
END
"#
    ))
}

#[cfg(test)]
mod tests {
    use super::{Kind, Strings, script};

    #[test]
    fn the_script_carries_name_and_version() {
        let text =
            script(&Strings { name: "a", version: "1.2.3", description: "says \"a\"", kind: Kind::Driver })
                .unwrap();
        assert!(text.contains("FILEVERSION 1,2,3,0"));
        assert!(text.contains(r#""OriginalFilename", "a.sys""#) && text.contains("FILETYPE 3"));
        assert!(text.contains(r#""FileDescription", "says ""a""""#));
    }

    #[test]
    fn a_version_that_is_not_three_numbers_is_refused() {
        for version in ["1.2", "1.2.3-rc1", "1.2.70000"] {
            assert!(
                script(&Strings { name: "a", version, description: "", kind: Kind::Program }).is_err(),
                "{version}"
            );
        }
    }
}
