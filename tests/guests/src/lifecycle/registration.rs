//! Between hives and registration files (`.reg`), which is what the NT executive takes and gives.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use bootcfg::hive_edit::Edit;
use hive::{Hive, Key, data_type};

/// Writes a key and all below it.
pub(super) fn write(key: &Key<'_>, path: &str, text: &mut String) -> Result<()> {
    writeln!(text, "[{path}]")?;
    for value in key.values()? {
        let value = value?;
        let name = match value.name() {
            "" => "@".to_owned(),
            name => format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")),
        };
        match value.dword()? {
            Some(number) => writeln!(text, "{name}=dword:{number:08x}")?,
            None => {
                let bytes: Vec<_> = value.data()?.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(text, "{name}=hex({:x}):{}", value.data_type(), bytes.join(","))?;
            }
        }
    }
    for child in key.keys()? {
        let child = child?;
        write(&child, &format!("{path}\\{}", child.name()), text)?;
    }
    Ok(())
}

/// Returns the edits of a SYSTEM hive that a registration file makes; other hives' keys are left out, as are
/// keys that a boot makes anew.
pub(crate) fn edits(text: &str, hive: &Hive<'_>) -> Result<Vec<Edit>> {
    let mut edits = Vec::new();
    let mut key = None;
    let mut lines = text.lines().map(str::trim);
    while let Some(first) = lines.next() {
        let mut line = first.to_owned();
        while line.ends_with('\\') {
            line.pop();
            line.push_str(lines.next().context("a line that goes on and does not")?);
        }
        if let Some(head) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let path = in_hive(head.trim_start_matches('-'));
            let gone = head.starts_with('-');
            if let Some(key) = path.clone().filter(|_| gone)
                && hive.key(&key)?.is_some()
            {
                edits.push(Edit::DeleteKey { key });
            }
            key = path.filter(|_| !gone);
            continue;
        }
        let (Some(key), false) = (&key, line.is_empty()) else { continue };
        let (name, value) = assignment(&line).with_context(|| format!("not understood: {line}"))?;
        let edit = match value {
            "-" => Edit::DeleteValues { key: key.clone(), names: vec![name] },
            value => {
                let (kind, data) = decode(value).with_context(|| format!("not understood: {line}"))?;
                Edit::Set { key: key.clone(), name, kind, data }
            }
        };
        edits.push(edit);
    }
    edits.sort_by_key(|edit| !matches!(edit, Edit::DeleteValues { .. }));
    Ok(edits)
}

/// Returns the path in the hive of a key below `CurrentControlSet`.
fn in_hive(path: &str) -> Option<String> {
    let prefix = "HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet";
    let rest = path
        .get(..prefix.len())
        .filter(|start| start.eq_ignore_ascii_case(prefix))
        .map(|_| &path[prefix.len()..]);
    rest.map(|rest| format!("ControlSet001{rest}"))
}

/// Returns a line's name, unescaped, and its value.
fn assignment(line: &str) -> Option<(String, &str)> {
    if let Some(value) = line.strip_prefix("@=") {
        return Some((String::new(), value));
    }
    let inner = line.strip_prefix('"')?;
    let end = inner.find("\"=")?;
    Some((inner[..end].replace("\\\\", "\\").replace("\\\"", "\""), &inner[end + 2..]))
}

fn decode(value: &str) -> Result<(u32, Vec<u8>)> {
    if let Some(number) = value.strip_prefix("dword:") {
        return Ok((data_type::DWORD, u32::from_str_radix(number, 16)?.to_le_bytes().to_vec()));
    }
    if let Some(text) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        let text = text.replace("\\\\", "\\");
        return Ok((data_type::SZ, text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()));
    }
    let Some((kind, bytes)) = value.strip_prefix("hex(").and_then(|rest| rest.split_once("):")) else {
        bail!("neither dword, text nor hex")
    };
    let bytes = bytes.split(',').map(str::trim).filter(|byte| !byte.is_empty());
    let data = bytes.map(|byte| Ok(u8::from_str_radix(byte, 16)?)).collect::<Result<_>>()?;
    Ok((u32::from_str_radix(kind, 16)?, data))
}

#[cfg(test)]
mod tests {
    use hive::build::Tree;

    use super::*;

    #[test]
    fn a_hive_comes_back_from_its_registration_file() {
        let tree = Tree::new().with_key(
            "ControlSet001\\Services\\x",
            Tree::new()
                .with_dword("Start", 0)
                .with_text("Image\\Path", "a\\b")
                .with_texts("List", &["p", "q"]),
        );
        let bytes = tree.hive("SYSTEM");
        let hive = Hive::new(&bytes).unwrap();
        let mut text = String::new();
        let set = hive.key("ControlSet001").unwrap().unwrap();
        write(&set, "HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet", &mut text).unwrap();
        let edits = edits(&text, &hive).unwrap();
        assert_eq!(edits.len(), 3);
        for edit in edits {
            let Edit::Set { key, name, kind, data } = edit else { panic!("{edit:?}") };
            let value = hive.key(&key).unwrap().unwrap().value(&name).unwrap().unwrap();
            assert_eq!((value.data_type(), value.data().unwrap().into_owned()), (kind, data));
        }
    }

    #[test]
    fn removals_and_long_lines_are_understood() {
        let bytes =
            Tree::new().with_key("ControlSet001\\a\\b", Tree::new().with_dword("v", 1)).hive("SYSTEM");
        let hive = Hive::new(&bytes).unwrap();
        let text = "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\a\\b]\n\"v\"=-\n\"w\"=hex(3):\\\n  01,\\\n  02\n\
                    [-HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\a]\n[HKEY_LOCAL_MACHINE\\HARDWARE]\n\"z\"=dword:1\n";
        let edits = edits(text, &hive).unwrap();
        assert_eq!(edits.len(), 3);
        assert!(matches!(&edits[0], Edit::DeleteValues { names, .. } if names == &["v"]));
        assert!(edits.contains(&Edit::DeleteKey { key: "ControlSet001\\a".to_owned() }));
    }
}
