//! Names a driver exports, out of its module definition file.

use crate::Error;

/// The names in the `EXPORTS` part of a module definition file.
///
/// Comments run from `;` to the end of a line; attributes after a name are ignored.
///
/// # Errors
/// When the text has no `EXPORTS` line, or no name after it.
pub fn parse(definitions: &str) -> Result<Vec<&str>, Error> {
    let mut words = definitions.lines().filter_map(|line| line.split(';').next()?.split_whitespace().next());
    if !words.any(|word| word == "EXPORTS") {
        return Err("a module definition file without an EXPORTS line".into());
    }
    let names: Vec<_> = words.collect();
    if names.is_empty() {
        return Err("a module definition file that exports nothing".into());
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
