//! Shapes and text of a picture.

use std::fmt::Write;

/// Colours of the classes, on a light page and on a dark one.
const COLOURS: [(&str, &str, &str); 12] = [
    (".ground", "fill:#ffffff", "fill:#0d1117"),
    ("text", "fill:#1f2328", "fill:#e6edf3"),
    (".faint", "fill:#59636e", "fill:#9198a1"),
    (".line", "stroke:#59636e;fill:none", "stroke:#9198a1"),
    (".head", "fill:#59636e", "fill:#9198a1"),
    (".band", "fill:#eef1f4", "fill:#1c232c"),
    (".plain", "fill:#f6f8fa;stroke:#8c959f", "fill:#151b23;stroke:#656c76"),
    (".blue", "fill:#ddf4ff;stroke:#0969da", "fill:#121d2f;stroke:#4493f8"),
    (".green", "fill:#dafbe1;stroke:#1a7f37", "fill:#12261e;stroke:#3fb950"),
    (".purple", "fill:#fbefff;stroke:#8250df", "fill:#211830;stroke:#ab7df8"),
    (".amber", "fill:#fff8c5;stroke:#9a6700", "fill:#272115;stroke:#d29922"),
    (".red", "fill:#ffebe9;stroke:#cf222e", "fill:#2b171c;stroke:#f85149"),
];

/// A picture that is being drawn. Units are CSS pixels.
pub(super) struct Picture {
    width: f64,
    body: String,
}

/// Style of a text.
#[derive(Clone, Copy)]
pub(super) struct Style {
    /// Height of the letters.
    pub size: f64,
    /// True if it is bold.
    pub bold: bool,
    /// True if it stands back.
    pub faint: bool,
    /// True if its place is its middle and not its beginning.
    pub centred: bool,
}

/// Text as it is set where nothing else is said.
pub(super) const TEXT: Style = Style { size: 13.0, bold: false, faint: false, centred: false };

/// Distance of two lines of text.
pub(super) const LEADING: f64 = 17.0;

impl Picture {
    /// Begins a picture.
    pub(super) fn new(width: f64) -> Picture {
        Picture { width, body: String::new() }
    }

    /// Draws a box with rounded corners, in the colours of a class.
    pub(super) fn rectangle(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
        let _ = writeln!(
            self.body,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"5\"/>"
        );
    }

    /// Draws a path given in SVG's own letters; `head` ends it with an arrowhead.
    pub(super) fn path(&mut self, path: &str, dashed: bool, head: bool) {
        let dashes = if dashed { " stroke-dasharray=\"5 4\"" } else { "" };
        let head = if head { " marker-end=\"url(#head)\"" } else { "" };
        let _ = writeln!(self.body, "<path class=\"line\" d=\"{path}\"{dashes}{head}/>");
    }

    /// Writes a line of text, whose base line is at `y`.
    pub(super) fn text(&mut self, style: Style, (x, y): (f64, f64), text: &str) {
        let class = if style.faint { " class=\"faint\"" } else { "" };
        let bold = if style.bold { " font-weight=\"600\"" } else { "" };
        let anchor = if style.centred { " text-anchor=\"middle\"" } else { "" };
        let _ = writeln!(
            self.body,
            "<text{class} x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{}\"{bold}{anchor}>{}</text>",
            style.size,
            escape(text)
        );
    }

    /// Lays the shapes of another picture over this one's.
    pub(super) fn join(&mut self, above: Picture) {
        self.body += &above.body;
    }

    /// Returns the file's text; `title` is what a reader hears who does not see the picture.
    pub(super) fn finish(self, height: f64, title: &str) -> String {
        let rules = |dark: bool| -> String {
            COLOURS
                .iter()
                .map(|(class, day, night)| format!("{class}{{{}}}", if dark { night } else { day }))
                .collect()
        };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" font-family=\"'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif\">\n\
             <!-- Written by `cargo xtask pictures`; not edited by hand. -->\n<title>{title}</title>\n\
             <style>{}\n@media (prefers-color-scheme: dark){{{}}}</style>\n\
             <defs><marker id=\"head\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" markerHeight=\"7\" \
             orient=\"auto-start-reverse\"><path class=\"head\" d=\"M0 1 L10 5 L0 9 z\"/></marker></defs>\n\
             <rect class=\"ground\" width=\"{width:.0}\" height=\"{height:.0}\"/>\n{}</svg>\n",
            rules(false),
            rules(true),
            self.body,
            width = self.width,
            title = escape(title),
        )
    }
}

/// Returns a text as XML has it.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Returns how wide a text is at most, in fonts of the family above.
pub(super) fn width(text: &str, style: Style) -> f64 {
    let letter = |c: char| match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | ' ' => 0.33,
        'f' | 't' | 'r' | '(' | ')' | '-' | '/' => 0.42,
        'm' | 'w' | 'M' | 'W' => 0.98,
        'A'..='Z' => 0.74,
        _ => 0.61,
    };
    text.chars().map(letter).sum::<f64>() * style.size * if style.bold { 1.08 } else { 1.0 }
}

/// Breaks a text into lines of a width at its spaces.
pub(super) fn wrap(text: &str, style: Style, most: f64) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("never empty");
        let longer = if last.is_empty() { word.to_owned() } else { format!("{last} {word}") };
        if last.is_empty() || width(&longer, style) <= most {
            *last = longer;
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
