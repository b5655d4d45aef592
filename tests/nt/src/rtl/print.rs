//! `DbgPrint`: printf's conversions as far as kernel drivers may use them (no floating point).

use alloc::format;
use alloc::string::String;
use core::fmt::Write;

use crate::nt::*;

/// `DbgPrint`. IRQL ≤ `DIRQL` for plain conversions, `PASSIVE_LEVEL` for wide strings. Spills the register
/// arguments into their homes, so that all arguments are an array.
#[unsafe(naked)]
pub(crate) unsafe extern "win64" fn DbgPrint() {
    core::arch::naked_asm!(
        "mov [rsp+0x08], rcx",
        "mov [rsp+0x10], rdx",
        "mov [rsp+0x18], r8",
        "mov [rsp+0x20], r9",
        "lea rcx, [rsp+0x08]",
        "sub rsp, 0x28",
        "call {print}",
        "add rsp, 0x28",
        "ret",
        print = sym print,
    )
}

unsafe extern "win64" fn print(arguments: *const u64) -> NtStatus {
    // SAFETY: the caller keeps `arguments` valid for this call.
    let text = unsafe { formatted(arguments) };
    for line in text.lines().filter(|line| !line.is_empty()) {
        crate::report!("dbg {line}");
    }
    status::SUCCESS
}

unsafe fn formatted(mut arguments: *const u64) -> String {
    // SAFETY: the caller keeps `arguments` valid for this call.
    unsafe {
        let mut next = || {
            let value = *arguments;
            arguments = arguments.add(1);
            value
        };
        let mut format = next() as *const u8;
        let mut out = String::new();
        while *format != 0 {
            let c = *format;
            format = format.add(1);
            if c != b'%' {
                out.push(c as char);
                continue;
            }
            let (mut left, mut zero, mut width, mut long, mut wide) = (false, false, 0, false, false);
            loop {
                match *format {
                    b'-' => left = true,
                    b'0' if width == 0 => zero = true,
                    digit @ b'0'..=b'9' => width = width * 10 + usize::from(digit - b'0'),
                    b'#' | b'h' => {}
                    b'l' | b'w' => wide = true,
                    b'I' | b'L' => long = true,
                    _ => break,
                }
                format = format.add(1);
            }
            // `%I64x`: the digits after I were taken for a width.
            let width = if long && width == 64 { 0 } else { width };
            let conversion = *format;
            if conversion != 0 {
                format = format.add(1);
            }
            let text = match conversion {
                b'd' | b'i' if long => format!("{}", next() as i64),
                b'd' | b'i' => format!("{}", next() as i32),
                b'u' if long => format!("{}", next()),
                b'u' => format!("{}", next() as u32),
                b'x' if long => format!("{:x}", next()),
                b'x' => format!("{:x}", next() as u32),
                b'X' if long => format!("{:X}", next()),
                b'X' => format!("{:X}", next() as u32),
                b'p' => format!("{:016X}", next()),
                b'c' => format!("{}", next() as u8 as char),
                b'Z' => (*(next() as *const UnicodeString)).text(),
                b'S' => wide_string(next()),
                b's' if wide => wide_string(next()),
                b's' => string(next()),
                b'%' => "%".into(),
                other => format!("%{}", other as char),
            };
            // Writing to a String cannot fail.
            let _ = match (left, zero) {
                (true, _) => write!(out, "{text:<width$}"),
                (false, true) => write!(out, "{text:0>width$}"),
                (false, false) => write!(out, "{text:>width$}"),
            };
        }
        out
    }
}

unsafe fn string(address: u64) -> String {
    let text = address as *const u8;
    if text.is_null() {
        return "(null)".into();
    }
    // SAFETY: the caller passes the address of a string that ends in a zero, as the format says.
    unsafe {
        let length = (0..).take_while(|&i| *text.add(i) != 0).count();
        String::from_utf8_lossy(core::slice::from_raw_parts(text, length)).into_owned()
    }
}

unsafe fn wide_string(address: u64) -> String {
    let text = address as *const u16;
    if text.is_null() {
        return "(null)".into();
    }
    // SAFETY: the caller passes the address of a string that ends in a zero, as the format says.
    unsafe {
        let length = (0..).take_while(|&i| *text.add(i) != 0).count();
        String::from_utf16_lossy(core::slice::from_raw_parts(text, length))
    }
}
