//! Registration files (`REGEDIT4`): changes to the registry, made after installation.
//!
//! `[HKEY_LOCAL_MACHINE\…]` opens a key, `[-…]` takes one away; `"name"="text"`, `"name"=dword:xxxxxxxx`,
//! `"name"=hex:…` and `"name"=hex(<type>):…` set values, `"name"=-` takes one away; `@` is the default
//! value's name. A line that ends with a backslash goes on with the next. Lines beginning with `;` are
//! remarks.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Value, delete_key, delete_value, make, set};
use crate::nt::*;

/// Carries a file out.
///
/// # Errors
/// The first line that is not understood.
pub(crate) fn apply(text: &str) -> Result<(), String> {
    let mut path = None;
    let mut lines = text.lines().map(str::trim);
    while let Some(first) = lines.next() {
        let mut whole = first.to_string();
        while whole.ends_with('\\') {
            whole.pop();
            whole.push_str(lines.next().ok_or_else(|| first.to_string())?);
        }
        let line = whole.as_str();
        if line.is_empty() || line.starts_with(';') || line == "REGEDIT4" {
            continue;
        }
        if let Some(key) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            path = None;
            match key.strip_prefix('-') {
                Some(gone) => {
                    delete_key(&kernel_path(gone).ok_or_else(|| line.to_string())?);
                }
                None => {
                    let key = kernel_path(key).ok_or_else(|| line.to_string())?;
                    make(&key);
                    path = Some(key);
                }
            }
            continue;
        }
        let setting = path.as_ref().zip(setting(line));
        let done = setting.and_then(|(path, (name, value))| assign(path, &name, value));
        done.ok_or_else(|| line.to_string())?;
    }
    Ok(())
}

/// Returns `HKEY_LOCAL_MACHINE\…` as a kernel path.
fn kernel_path(key: &str) -> Option<String> {
    let rest = key.strip_prefix("HKEY_LOCAL_MACHINE\\").or_else(|| key.strip_prefix("HKLM\\"))?;
    Some(alloc::format!("\\Registry\\Machine\\{rest}"))
}

/// Returns a line's name, unescaped, and its value.
fn setting(line: &str) -> Option<(String, &str)> {
    let (name, rest) = match line.strip_prefix('@') {
        Some(rest) => (String::new(), rest),
        None => {
            let (mut name, mut escaped) = (String::new(), false);
            let inner = line.strip_prefix('"')?;
            let end = inner.char_indices().find_map(|(at, c)| {
                let end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                if !end && !escaped {
                    name.push(c);
                }
                end.then_some(at)
            })?;
            (name, &inner[end + 1..])
        }
    };
    Some((name, rest.trim_start().strip_prefix('=')?.trim_start()))
}

fn assign(path: &str, name: &str, value: &str) -> Option<()> {
    if value == "-" {
        delete_value(path, name);
        return Some(());
    }
    let value = if let Some(text) = value.strip_prefix('"') {
        Value::text(&text.strip_suffix('"')?.replace("\\\\", "\\"))
    } else if let Some(number) = value.strip_prefix("dword:") {
        Value::dword(u32::from_str_radix(number, 16).ok()?)
    } else if let Some((kind, bytes)) = value.strip_prefix("hex(").and_then(|rest| rest.split_once("):")) {
        Value { kind: u32::from_str_radix(kind, 16).ok()?, data: hex(bytes)? }
    } else {
        Value { kind: REG_BINARY, data: hex(value.strip_prefix("hex:")?)? }
    };
    set(path, name, value);
    Some(())
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if text.trim().is_empty() {
        return Some(Vec::new());
    }
    text.split(',').map(|byte| u8::from_str_radix(byte.trim(), 16).ok()).collect()
}
