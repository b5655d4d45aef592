//! Registration files (`REGEDIT4`): changes to the registry, made after installation.
//!
//! `[HKEY_LOCAL_MACHINE\…]` opens a key, `[-…]` takes one away; `"name"="text"`, `"name"=dword:xxxxxxxx`,
//! `"name"=hex(7):…` set values, `"name"=-` takes one away. Lines beginning with `;` are remarks.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Value, delete_key, delete_value, make, set};
use crate::nt::*;

/// Carries a file out.
///
/// # Errors
/// The first line that is not understood.
pub fn apply(text: &str) -> Result<(), String> {
    let mut path = None;
    for line in text.lines().map(str::trim) {
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
        let setting = path.as_ref().zip(line.split_once('='));
        let done = setting.and_then(|(path, (name, value))| assign(path, name.trim(), value.trim()));
        done.ok_or_else(|| line.to_string())?;
    }
    Ok(())
}

/// `HKEY_LOCAL_MACHINE\…` as a kernel path.
fn kernel_path(key: &str) -> Option<String> {
    let rest = key.strip_prefix("HKEY_LOCAL_MACHINE\\").or_else(|| key.strip_prefix("HKLM\\"))?;
    Some(alloc::format!("\\Registry\\Machine\\{rest}"))
}

fn assign(path: &str, name: &str, value: &str) -> Option<()> {
    let name = if name == "@" { "" } else { name.strip_prefix('"')?.strip_suffix('"')? };
    if value == "-" {
        delete_value(path, name);
        return Some(());
    }
    let value = if let Some(text) = value.strip_prefix('"') {
        Value::text(&text.strip_suffix('"')?.replace("\\\\", "\\"))
    } else if let Some(number) = value.strip_prefix("dword:") {
        Value::dword(u32::from_str_radix(number, 16).ok()?)
    } else if let Some(bytes) = value.strip_prefix("hex(7):") {
        Value { kind: REG_MULTI_SZ, data: hex(bytes)? }
    } else {
        Value { kind: REG_BINARY, data: hex(value.strip_prefix("hex:")?)? }
    };
    set(path, name, value);
    Some(())
}

fn hex(text: &str) -> Option<Vec<u8>> {
    text.split(',').map(|byte| u8::from_str_radix(byte.trim(), 16).ok()).collect()
}
