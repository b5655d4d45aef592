//! Openings of doc comments: a function's begins with a verb, a type's with a noun.
//!
//! A clause ("What the bus says", "Whether it is there") names neither what an item is nor what it does: a reader
//! has to turn it round first. A noun before a function ("The disk", "A new port") leaves open whether the function
//! makes the thing, returns it, or is told of it.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail, ensure};

use crate::{folder::sources, layout::Layout};

/// Words that open a clause.
const CLAUSE: &[&str] =
    &["What", "Who", "Whether", "How", "Those", "That", "Where", "As", "So many", "Why", "Which"];

/// Words that open a noun phrase. Only articles: of other words the next one decides.
const ARTICLE: &[&str] = &["The", "A", "An"];

/// Clauses per thousand doc comments that the repository may have. It may fall, and never rise.
const MOST_CLAUSES: f64 = 0.6;

/// Articles per thousand doc comments of functions that the repository may have. It may fall, and never rise.
const MOST_ARTICLES: f64 = 0.3;

/// Prints how many doc comments open with a clause, and how many of functions with an article, and checks that
/// neither rate is above its ceiling.
///
/// # Errors
/// A rate is above its ceiling, or a source file cannot be read.
pub(crate) fn check(layout: &Layout) -> Result<()> {
    let mut comments = Comments::default();
    for (place, source) in sources(layout.root(), ".rs")? {
        comments.add(&place, &source);
    }
    println!("{}\n{}", comments.all, comments.functions);
    comments.all.judge(MOST_CLAUSES)?;
    comments.functions.judge(MOST_ARTICLES)
}

/// The doc comments of some sources.
struct Comments {
    all: Openings,
    /// The comments of functions, without tests: a test's says what holds.
    functions: Openings,
}

/// A number of comments, and those that open with the wrong words.
struct Openings {
    /// The comments' kind, and the wrong words' kind.
    kinds: [&'static str; 2],
    words: &'static [&'static str],
    comments: usize,
    /// File, line, and the comment's first line.
    wrong: Vec<(PathBuf, usize, String)>,
}

impl Default for Comments {
    fn default() -> Self {
        Self {
            all: Openings::new(["doc comments", "a clause"], CLAUSE),
            functions: Openings::new(["doc comments of functions", "an article"], ARTICLE),
        }
    }
}

impl Comments {
    /// Adds a source. A doc comment is a run of lines that begin with `///` or `//!`; its first line counts.
    fn add(&mut self, place: &Path, source: &str) {
        let lines: Vec<_> = source.lines().collect();
        let mut inside = false;
        for (index, line) in lines.iter().enumerate() {
            let text = doc(line);
            if let Some(text) = text.filter(|_| !inside) {
                self.all.add(place, index + 1, text);
                if is_function(&lines[index..]) {
                    self.functions.add(place, index + 1, text);
                }
            }
            inside = text.is_some();
        }
    }
}

impl Openings {
    const fn new(kinds: [&'static str; 2], words: &'static [&'static str]) -> Self {
        Self { kinds, words, comments: 0, wrong: Vec::new() }
    }

    fn add(&mut self, place: &Path, line: usize, text: &str) {
        self.comments += 1;
        if self.words.iter().any(|words| begins_with(text, words)) {
            self.wrong.push((place.to_owned(), line, text.to_owned()));
        }
    }

    /// Returns the number of wrong openings per thousand comments.
    fn rate(&self) -> f64 {
        self.wrong.len() as f64 * 1000.0 / self.comments as f64
    }

    fn judge(&self, ceiling: f64) -> Result<()> {
        ensure!(self.comments > 0, "there are no {}", self.kinds[0]);
        if self.rate() > ceiling {
            let lines: Vec<_> = self
                .wrong
                .iter()
                .map(|(place, line, text)| format!("{}:{line}: {text}", place.display()))
                .collect();
            bail!("{self}, more than {ceiling} in 1000 ({})\n{}", self.words.join(", "), lines.join("\n"));
        }
        Ok(())
    }
}

impl fmt::Display for Openings {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (wrong, percent, [what, with]) = (self.wrong.len(), self.rate() / 10.0, self.kinds);
        write!(f, "{wrong} of {} {what} ({percent:.2} %) open with {with}", self.comments)
    }
}

/// Returns the text of a line of a doc comment.
fn doc(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let text = line.strip_prefix("//!").or_else(|| line.strip_prefix("///"))?;
    (!text.starts_with('/')).then_some(text.trim())
}

/// Returns true if a text begins with these words, which end there.
fn begins_with(text: &str, words: &str) -> bool {
    text.strip_prefix(words)
        .is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
}

/// Returns true if the comment that `lines` begin with is a function's, and the function no test. Attributes may
/// stand between them, of several lines, too.
fn is_function(lines: &[&str]) -> bool {
    let mut depth = 0;
    for line in lines.iter().map(|line| line.trim()) {
        if depth == 0 && doc(line).is_some() {
            continue;
        }
        if depth == 0 && !line.starts_with("#[") {
            let mut words = line.split(' ').skip_while(|word| is_qualifier(word));
            return words.next() == Some("fn");
        }
        if line == "#[test]" {
            return false;
        }
        let count = |open, close| line.matches(open).count() as i32 - line.matches(close).count() as i32;
        depth += count('[', ']');
    }
    false
}

/// Returns true if a word may stand before `fn`.
fn is_qualifier(word: &str) -> bool {
    matches!(word, "pub" | "const" | "async" | "unsafe" | "extern")
        || word.starts_with("pub(")
        || word.starts_with('"')
        || word.ends_with(')') && !word.contains('(')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comments(source: &str) -> Comments {
        let mut comments = Comments::default();
        comments.add(Path::new("a.rs"), source);
        comments
    }

    fn lines(openings: &Openings) -> Vec<usize> {
        openings.wrong.iter().map(|(_, line, _)| *line).collect()
    }

    #[test]
    fn the_repository_keeps_the_ceilings() {
        check(&Layout::here()).unwrap();
    }

    #[test]
    fn the_first_line_of_a_comment_counts() {
        let found = comments(
            "//! What it is.\n\n/// Returns\n/// What it was told.\nfn a() {}\n    /// Whether.\n    b: bool,\n",
        );
        assert_eq!(found.all.comments, 3);
        assert_eq!(lines(&found.all), [1, 6]);
    }

    #[test]
    fn words_are_whole() {
        for text in ["Whatever", "However", "Assigns", "Thatch", "So manyfold", "Another", "Then"] {
            assert!(![CLAUSE, ARTICLE].concat().iter().any(|words| begins_with(text, words)), "{text}");
        }
        for words in [CLAUSE, ARTICLE].concat() {
            assert!(begins_with(&format!("{words} it"), words) && begins_with(&format!("{words}."), words));
        }
    }

    #[test]
    fn other_comments_do_not_count() {
        assert_eq!(comments("// What\n//// Whether\nlet a = 1; /// How\n").all.comments, 0);
    }

    #[test]
    fn an_article_is_wrong_before_a_function_only() {
        let functions = [
            "fn a() {}",
            "pub fn a() {}",
            "pub(crate) const fn a() {}",
            "pub(in crate::b) async fn a() {}",
            "unsafe extern \"system\" fn a() {}",
            "/// More.\n#[must_use]\n#[expect(\n    b,\n    reason = \"c\"\n)]\nfn a() {}",
        ];
        for function in functions {
            assert_eq!(
                lines(&comments(&format!("/// The disk.\n{function}\n")).functions),
                [1],
                "{function}"
            );
        }
        let others =
            ["struct A;", "pub a: fn(),", "const A: u32 = 0;", "#[test]\nfn a() {}", "type A = fn();"];
        for other in others {
            assert_eq!(comments(&format!("/// The disk.\n{other}\n")).functions.comments, 0, "{other}");
        }
        assert!(lines(&comments("/// Returns the disk.\nfn a() {}\n").functions).is_empty());
    }

    #[test]
    fn a_rate_above_the_ceiling_is_refused() {
        let found = comments("/// What\nfn a() {}\n/// Returns\nfn b() {}\n").all;
        assert!(found.judge(500.0).is_ok());
        let error = found.judge(499.0).unwrap_err().to_string();
        assert!(error.contains("a.rs:1: What"), "{error}");
        assert!(comments("fn a() {}").all.judge(1000.0).is_err());
    }
}
