//! Holds `docs/features.md` to what there is: each test and each guest that it names must exist.

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use crate::layout::Layout;

    /// Reads every Rust source below a folder of the workspace, but for what is built.
    fn sources(folder: &Path, into: &mut String) {
        for entry in fs::read_dir(folder).expect("a folder").filter_map(Result::ok) {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "target" && name != ".git" && name != "dist" {
                sources(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push_str(&fs::read_to_string(&path).expect("a source"));
            }
        }
    }

    /// Returns the texts between backticks in the column "shown by" of every row.
    fn named(page: &str) -> Vec<&str> {
        let rows = page.lines().filter(|line| line.starts_with("| ") && line.matches(" | ").count() >= 6);
        rows.filter_map(|row| row.split(" | ").nth(2))
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .collect()
    }

    #[test]
    fn the_named_tests_exist() {
        let layout = Layout::here();
        let page = fs::read_to_string(layout.root().join("docs/features.md")).expect("the page");
        let mut text = String::new();
        sources(layout.root(), &mut text);
        let named = named(&page);
        assert!(named.len() > 20, "{named:?}");
        for name in named {
            let exists = [
                format!("fn {name}("),
                format!("name: \"{name}\""),
                format!("mod {name}"),
                format!("/{name}/"),
            ]
            .iter()
            .any(|form| text.contains(form));
            assert!(
                exists || layout.root().join("vbd/tests").join(name).is_dir(),
                "there is no test `{name}`"
            );
        }
    }
}
