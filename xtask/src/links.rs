//! Holds the documents to what they point at: files, headings, and paths of the sources.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use crate::{folder::sources, layout::Layout, package};

/// The index of the documents, from which each of them is reached.
const INDEX: &str = "docs/README.md";

/// Checks every link, anchor and named path in the workspace's documents.
///
/// # Errors
/// Something is named that is not there, or a page of docs/ is missing from the index.
pub(crate) fn check(layout: &Layout) -> Result<()> {
    let documents = Documents::read(layout.root())?;
    let findings = [documents.findings(), documents.outside(package::PAPERS)].concat();
    if findings.is_empty() { Ok(()) } else { bail!("{}", findings.join("\n")) }
}

/// The Markdown files of a folder, by their paths in it.
struct Documents {
    root: PathBuf,
    pages: BTreeMap<PathBuf, Page>,
}

/// A document.
#[derive(Default)]
struct Page {
    /// The anchors of its headings, as GitHub makes them.
    anchors: Vec<String>,
    /// Number of a line, and the target of a link in it.
    links: Vec<(usize, String)>,
    /// Number of a line, and a text between backticks.
    spans: Vec<(usize, String)>,
}

impl Documents {
    fn read(root: &Path) -> Result<Documents> {
        let pages = sources(root, ".md")?.into_iter().map(|(place, text)| (place, Page::parse(&text)));
        Ok(Documents { root: root.to_owned(), pages: pages.collect() })
    }

    /// Returns one line for each thing that is wrong.
    fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        for (place, page) in &self.pages {
            let shown = place.display();
            for (line, target) in &page.links {
                findings.extend(self.obstacle(place, target).map(|why| format!("{shown}:{line}: {why}")));
            }
            for (line, span) in &page.spans {
                if self.is_missing_path(span) {
                    findings.push(format!("{shown}:{line}: `{span}` is not there"));
                }
            }
        }
        let index = Path::new(INDEX);
        let listed: Vec<PathBuf> = self
            .pages
            .get(index)
            .into_iter()
            .flat_map(|page| &page.links)
            .map(|(_, target)| resolved(index, target.split('#').next().unwrap_or_default()))
            .collect();
        for place in self.pages.keys().filter(|place| place.starts_with("docs") && *place != index) {
            if !listed.contains(place) {
                findings.push(format!("{INDEX} does not list {}", place.display()));
            }
        }
        findings
    }

    /// Returns the links of some files, which a package has without the others, that lead out of them.
    fn outside(&self, papers: &[&str]) -> Vec<String> {
        let mut findings = Vec::new();
        for (place, page) in
            self.pages.iter().filter(|(place, _)| papers.iter().any(|paper| *place == Path::new(paper)))
        {
            for (line, target) in page.links.iter().filter(|(_, target)| !is_remote(target)) {
                let path = target.split('#').next().unwrap_or_default();
                let found = resolved(place, path);
                if !path.is_empty() && !papers.iter().any(|paper| found == Path::new(paper)) {
                    findings.push(format!(
                        "{}:{line}: ({target}): the package does not have it",
                        place.display()
                    ));
                }
            }
        }
        findings
    }

    /// Returns why a link leads nowhere.
    fn obstacle(&self, place: &Path, target: &str) -> Option<String> {
        if is_remote(target) {
            return None;
        }
        let (path, anchor) =
            target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
        let found = if path.is_empty() { place.to_owned() } else { resolved(place, path) };
        if !self.root.join(&found).exists() {
            return Some(format!("({target}): {} is not there", found.display()));
        }
        let anchor = anchor?;
        match self.pages.get(&found) {
            Some(page) if page.anchors.iter().any(|known| known == anchor) => None,
            Some(_) => Some(format!("({target}): {} has no heading #{anchor}", found.display())),
            None => Some(format!("({target}): {} has no headings", found.display())),
        }
    }

    /// Returns whether a text names a file or folder below one of the root's folders, and it is not there.
    fn is_missing_path(&self, span: &str) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        let Some((first, rest)) = span.split_once('/') else { return false };
        let built = first == "target" || first == "dist";
        !built
            && !first.is_empty()
            && !rest.is_empty()
            && span.chars().all(plain)
            && self.root.join(first).is_dir()
            && !self.root.join(span).exists()
    }
}

impl Page {
    fn parse(text: &str) -> Page {
        let mut page = Page::default();
        let mut fenced = false;
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            } else if !fenced {
                page.line(number + 1, line);
            }
        }
        page
    }

    fn line(&mut self, number: usize, line: &str) {
        let title = line.trim_start_matches('#');
        if title.len() < line.len() && title.starts_with(' ') {
            let slug = slug(title.trim());
            let same = |known: &&String| {
                **known == slug || known.strip_prefix(&format!("{slug}-")).is_some_and(is_number)
            };
            let again = self.anchors.iter().filter(same).count();
            self.anchors.push(if again == 0 { slug } else { format!("{slug}-{again}") });
        }
        // Every second part stands between backticks.
        let parts: Vec<&str> = line.split('`').collect();
        self.spans.extend(parts.iter().skip(1).step_by(2).map(|span| (number, (*span).to_owned())));
        let mut prose = String::new();
        for (at, part) in parts.iter().enumerate() {
            prose += if at % 2 == 0 { part } else { "code" };
        }
        for (before, after) in [("](", ')'), (" src=\"", '"'), (" srcset=\"", '"')] {
            for rest in prose.split(before).skip(1) {
                self.links.extend(rest.split_once(after).map(|(target, _)| (number, target.to_owned())));
            }
        }
        if let Some((name, target)) = prose.strip_prefix('[').and_then(|rest| rest.split_once("]: "))
            && !name.contains(']')
        {
            self.links.push((number, target.trim().to_owned()));
        }
    }
}

fn is_remote(target: &str) -> bool {
    ["https://", "http://", "mailto:"].iter().any(|scheme| target.starts_with(scheme))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns the anchor that GitHub gives a heading: in small letters, without punctuation, hyphens for spaces.
fn slug(title: &str) -> String {
    let mut words = String::new();
    for part in title.split("](") {
        // Of a link only the words between its brackets count.
        words += if words.is_empty() { part } else { part.split_once(')').map_or("", |(_, rest)| rest) };
    }
    words
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// Returns the path that a link in the document at `place` leads to.
fn resolved(place: &Path, target: &str) -> PathBuf {
    let mut path = place.parent().unwrap_or(Path::new("")).to_owned();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                path.pop();
            }
            name => path.push(name),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_documents_point_at_what_is_there() {
        if let Err(error) = check(&Layout::here()) {
            panic!("{error}");
        }
    }

    /// Returns a folder with the documents of a test.
    fn documents(name: &str, files: &[(&str, &str)]) -> Documents {
        let root = Layout::here().target().join("links-tests").join(name);
        for (place, text) in files {
            let path = root.join(place);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        Documents::read(&root).expect("read")
    }

    #[test]
    fn each_kind_of_break_is_named() {
        let index = ("docs/README.md", "[a](a.md)");
        let wrong = |name: &str, text: &str| documents(name, &[index, ("docs/a.md", text)]).findings();
        let good = "# A `b`: c\n## A b c\n## Same\n## Same\n[x](../docs/a.md#same-1) ![y](README.md) \
                    [z](#a-b-c-1) https://e.invalid/ [w](https://e.invalid/x#y)\n```\n[v](none.md)\n```\n`[u](none)`";
        assert_eq!(wrong("good", good), [] as [&str; 0]);
        for (name, text, finding) in [
            ("file", "[x](none.md)", "docs/a.md:1: (none.md): docs/none.md is not there"),
            ("picture", "\n![x](none.svg)", "docs/a.md:2: (none.svg): docs/none.svg is not there"),
            ("source", "<img src=\"none.svg\">", "docs/a.md:1: (none.svg): docs/none.svg is not there"),
            ("reference", "[x]: none.md", "docs/a.md:1: (none.md): docs/none.md is not there"),
            ("anchor", "# A\n[x](#b)", "docs/a.md:2: (#b): docs/a.md has no heading #b"),
            ("other", "[x](README.md#a)", "docs/a.md:1: (README.md#a): docs/README.md has no heading #a"),
            ("path", "`docs/b.rs`", "docs/a.md:1: `docs/b.rs` is not there"),
        ] {
            assert_eq!(wrong(name, text), [finding]);
        }
        let lost = documents("lost", &[index, ("docs/a.md", ""), ("docs/results/b.md", "")]);
        assert_eq!(lost.findings(), ["docs/README.md does not list docs/results/b.md"]);
    }

    #[test]
    fn a_link_out_of_the_package_is_named() {
        let files = [("docs/README.md", "[a](a.md)"), ("docs/a.md", "[x](#y) [z](README.md) [w](b.json)")];
        let documents = documents("package", &files);
        let papers = ["docs/a.md", "docs/b.json"];
        assert_eq!(documents.outside(&papers), ["docs/a.md:1: (README.md): the package does not have it"]);
    }

    #[test]
    fn anchors_are_githubs() {
        for (title, anchor) in [
            ("The SYSTEM hive is dirty", "the-system-hive-is-dirty"),
            ("Another suite's leftovers: `clean`", "another-suites-leftovers-clean"),
            ("Layer, L0 to L8", "layer-l0-to-l8"),
            ("See [the guide](a.md) first", "see-the-guide-first"),
        ] {
            let shown = slug(title);
            assert_eq!(shown, anchor);
        }
    }
}
