//! Makes edits below `HKEY_LOCAL_MACHINE\Software\bootcfg-edits` in the running Windows, as they are made in
//! a loaded hive: for the test in Wine, which loads no hives. On other systems it does nothing.

fn main() -> anyhow::Result<()> {
    #[cfg(windows)]
    {
        use bootcfg::hive_edit::{Edit, loaded};
        use hive::data_type::{DWORD, MULTI_SZ};

        let key = |path: &str| format!("Set001\\{path}");
        let set = |path: &str, name: &str, kind: u32, data: &[u8]| Edit::Set {
            key: key(path),
            name: name.to_owned(),
            kind,
            data: data.to_vec(),
        };
        let list: Vec<u8> = "one\0two\0\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let edits = [
            set("Services\\keep", "Start", DWORD, &[3, 0, 0, 0]),
            set("Services\\keep", "Gone", DWORD, &[1, 0, 0, 0]),
            set("Services\\gone\\Below\\Deep", "Start", DWORD, &[0; 4]),
            set("Class", "UpperFilters", MULTI_SZ, &list),
            Edit::DeleteValues {
                key: key("Services\\keep"),
                names: vec!["gone".to_owned(), "never".to_owned()],
            },
            Edit::DeleteValues { key: key("Services\\never"), names: vec!["Start".to_owned()] },
            Edit::DeleteKey { key: key("Services\\gone") },
            Edit::DeleteKey { key: key("Services\\never") },
        ];
        loaded::apply("Software\\bootcfg-edits", &edits)?;
    }
    Ok(())
}
