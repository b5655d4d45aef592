//! Value of the registry, as it is stored.

use hive::data_type;

/// A value as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawValue {
    /// Type, as in [`data_type`].
    pub kind: u32,
    /// The bytes.
    pub data: Vec<u8>,
}

impl RawValue {
    /// Returns the number, if it is a `REG_DWORD`.
    #[must_use]
    pub fn dword(&self) -> Option<u32> {
        (self.kind == data_type::DWORD)
            .then(|| self.data.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)))?
    }

    /// Returns the text up to its NUL, if it is a `REG_SZ` or `REG_EXPAND_SZ`.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        matches!(self.kind, data_type::SZ | data_type::EXPAND_SZ)
            .then(|| texts(&self.data).into_iter().next().unwrap_or_default())
    }

    /// Returns the strings of a list, of whichever type of text it is: NT takes a `REG_SZ` where it looks for
    /// a list as a list of one. Empty strings, at which some readers stop, are left out. `None` for other
    /// types.
    #[must_use]
    pub fn strings(&self) -> Option<Vec<String>> {
        let count = match self.kind {
            data_type::SZ | data_type::EXPAND_SZ => 1,
            data_type::MULTI_SZ => usize::MAX,
            _ => return None,
        };
        Some(texts(&self.data).into_iter().take(count).filter(|text| !text.is_empty()).collect())
    }
}

/// All texts of UTF-16 data, empty ones too.
fn texts(data: &[u8]) -> Vec<String> {
    let units: Vec<u16> = data.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    units.split(|&unit| unit == 0).map(String::from_utf16_lossy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_any_type() {
        let of = |kind, texts: &[&str]| {
            let data =
                texts.iter().flat_map(|text| text.encode_utf16().chain([0])).flat_map(u16::to_le_bytes);
            RawValue { kind, data: data.collect() }.strings()
        };
        assert_eq!(of(data_type::SZ, &["PartMgr", "behind"]), Some(vec!["PartMgr".to_owned()]));
        assert_eq!(of(data_type::EXPAND_SZ, &["PartMgr"]), Some(vec!["PartMgr".to_owned()]));
        assert_eq!(
            of(data_type::MULTI_SZ, &["", "a", "", "b", ""]),
            Some(vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(of(data_type::BINARY, &["a"]), None);
    }
}
