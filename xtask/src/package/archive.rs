//! The archive: equal contents give equal bytes, whatever the clock and the machine.

use std::{
    collections::BTreeMap,
    io::{Cursor, Write},
};

use anyhow::Result;
use sha2::{Digest, Sha256};
use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

use super::date::Date;

/// Files by their paths in the package.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// Returns a zip archive of these files below `folder`, all of one date.
///
/// # Errors
/// A file is too large for an archive.
pub(super) fn zip(folder: &str, files: &Files, date: Date) -> Result<Vec<u8>> {
    let time = DateTime::from_date_and_time(date.year, date.month, date.day, 0, 0, 0)?;
    let plain =
        SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).last_modified_time(time);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, contents) in files {
        let mode = if path == "xenguard" || path == "bootcfg" { 0o755 } else { 0o644 };
        archive.start_file(format!("{folder}/{path}"), plain.unix_permissions(mode))?;
        archive.write_all(contents)?;
    }
    Ok(archive.finish()?.into_inner())
}

/// Returns the lines of `SHA256SUMS`, as sha256sum reads them.
pub(super) fn sums(files: &Files) -> String {
    files.iter().map(|(path, contents)| format!("{}  {path}\n", hex(&Sha256::digest(contents)))).collect()
}

/// Returns the number of bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_contents_give_equal_bytes() {
        let files =
            Files::from([("b.sys".to_owned(), vec![1; 5000]), ("a/LICENSE".to_owned(), b"text".to_vec())]);
        let date = Date { year: 2026, month: 11, day: 21 };
        let one = zip("x-1", &files, date).unwrap();
        assert_eq!(one, zip("x-1", &files.clone(), date).unwrap());
        assert!(one.len() < 1000, "compressed");
        assert_eq!(
            sums(&Files::from([("f".to_owned(), Vec::new())])),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  f\n"
        );
    }
}
