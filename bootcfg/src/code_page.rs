//! OEM code pages: NTLDR takes the bytes of boot.ini for characters of the one that its Windows is set to.

use encoding_rs::{BIG5, EUC_KR, Encoding, GBK, SHIFT_JIS};
use oem_cp::{
    code_table::{DECODING_TABLE_CP_MAP, ENCODING_TABLE_CP_MAP},
    encode_string_checked,
};

/// An OEM code page whose table is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodePage(u16);

impl CodePage {
    /// Returns the code page of a number, as Windows numbers them; none where its table is not at hand.
    #[must_use]
    pub fn of_number(number: u16) -> Option<CodePage> {
        let page = CodePage(number);
        (page.double_byte().is_some() || ENCODING_TABLE_CP_MAP.contains_key(&number)).then_some(page)
    }

    /// Returns its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Returns the text of bytes; none where some of them are no character.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> Option<String> {
        match self.double_byte() {
            Some(page) => page.decode_without_bom_handling_and_without_replacement(bytes).map(Into::into),
            None => DECODING_TABLE_CP_MAP.get(&self.0)?.decode_string_checked(bytes),
        }
    }

    /// Returns the bytes of a text; none where it has a character that the code page has not.
    #[must_use]
    pub fn encode(self, text: &str) -> Option<Vec<u8>> {
        let bytes = match self.double_byte() {
            Some(page) => page.encode(text).0.into_owned(),
            None => encode_string_checked(text, ENCODING_TABLE_CP_MAP.get(&self.0)?)?,
        };
        // Some tables write what they do not read as the same.
        (self.decode(&bytes)? == text).then_some(bytes)
    }

    /// Returns the table of a code page with characters of two bytes.
    const fn double_byte(self) -> Option<&'static Encoding> {
        match self.0 {
            932 => Some(SHIFT_JIS),
            936 => Some(GBK),
            949 => Some(EUC_KR),
            950 => Some(BIG5),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for (number, text, bytes) in [
            (437, "Größe", &b"Gr\x94\xe1e"[..]),
            (850, "Fenêtre", b"Fen\x88tre"),
            (852, "Okno č", b"Okno \x9f"),
            (866, "Окно", b"\x8e\xaa\xad\xae"),
            (932, "表示", b"\x95\x5c\x8e\xa6"),
            (936, "窗口", b"\xb4\xb0\xbf\xda"),
            (949, "창", b"\xc3\xa2"),
            (950, "功能", b"\xa5\x5c\xaf\xe0"),
        ] {
            let page = CodePage::of_number(number).unwrap_or_else(|| panic!("{number}"));
            assert_eq!((page.number(), page.decode(bytes).as_deref()), (number, Some(text)));
            assert_eq!(page.encode(text).as_deref(), Some(bytes), "{number}");
        }
    }

    #[test]
    fn what_a_code_page_has_not() {
        let page = |number| CodePage::of_number(number).expect("there");
        for number in [850, 932] {
            assert_eq!(page(number).encode("\u{1f600}"), None, "{number}");
        }
        // The first byte of two, alone.
        assert_eq!(page(932).decode(b"\x95"), None);
        for number in [0, 1, 1252, 65001, u16::MAX] {
            assert_eq!(CodePage::of_number(number), None, "{number}");
        }
    }
}
