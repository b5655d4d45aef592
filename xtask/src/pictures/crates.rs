//! The crates of the workspace, as cargo knows them: what ships in layers, and what builds and tests it below.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::svg::{LEADING, Picture, Style, TEXT, wrap};

const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 12.0;
const SMALL: Style = Style { size: 11.0, faint: true, ..TEXT };
const SMALL_LEADING: f64 = 14.0;
/// Distance of two boxes of a row.
const GAP: f64 = 14.0;
/// Distance of two rows, which the arrows cross.
const RISE: f64 = 62.0;
/// Room for an arrow that passes a row.
const PASSAGE: f64 = 26.0;
/// Columns of the crates that do not ship.
const COLUMNS: usize = 4;

/// A crate of the workspace.
struct Crate {
    description: String,
    class: &'static str,
    ships: bool,
    /// Crates of the workspace that it is made of.
    uses: BTreeSet<String>,
}

type Crates = BTreeMap<String, Crate>;

/// Draws the workspace of `cargo metadata`.
pub(super) fn draw(metadata: &Value) -> Result<String> {
    let crates = read(metadata)?;
    let (shipped, others): (Crates, Crates) = crates.into_iter().partition(|(_, one)| one.ships);
    let mut picture = Picture::new(WIDTH);
    let heading = Style { bold: true, ..TEXT };
    picture.text(heading, (MARGIN, 24.0), "What ships: an arrow points at what a crate is made of");
    picture.text(
        SMALL,
        (MARGIN, 41.0),
        "green: drivers · purple: programs · blue: libraries. An arrow that follows from two others is left out.",
    );
    let y = layers(&mut picture, &shipped, 56.0);
    picture.text(heading, (MARGIN, y + 34.0), "What builds and tests it");
    let y = grid(&mut picture, &others, y + 46.0);
    Ok(picture.finish(y + MARGIN, "The crates and their dependencies"))
}

fn read(metadata: &Value) -> Result<Crates> {
    let root = Path::new(metadata["workspace_root"].as_str().context("no workspace_root")?);
    let packages = metadata["packages"].as_array().context("no packages")?;
    let text = |value: &Value, key: &str| -> Result<String> {
        Ok(value[key].as_str().with_context(|| format!("a package without {key}"))?.to_owned())
    };
    let names: BTreeSet<String> =
        packages.iter().map(|package| text(package, "name")).collect::<Result<_>>()?;
    let mut crates = Crates::new();
    for package in packages {
        let name = text(package, "name")?;
        let manifest = text(package, "manifest_path")?;
        let place = Path::new(&manifest).strip_prefix(root).context("a package outside of the workspace")?;
        let ships = !["tests", "cross", "xtask"].iter().any(|folder| place.starts_with(folder));
        let kinds: Vec<&str> = package["targets"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|target| target["kind"].as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .collect();
        let class = match () {
            () if kinds.contains(&"cdylib") => "green",
            () if kinds.contains(&"bin") => "purple",
            () => "blue",
        };
        let uses =
            package["dependencies"].as_array().into_iter().flatten().filter(|other| other["kind"].is_null());
        let uses = uses.filter_map(|other| other["name"].as_str()).filter(|other| names.contains(*other));
        let uses = uses.map(str::to_owned).collect();
        crates.insert(name, Crate { description: text(package, "description")?, class, ships, uses });
    }
    Ok(crates)
}

/// A place in a row: a crate's box, or the passage of an arrow.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Box(String),
    Passage(String, String),
}

/// Draws crates in rows, each above all that it is made of; returns where they end.
fn layers(picture: &mut Picture, crates: &Crates, top: f64) -> f64 {
    let arrows = reduced(crates);
    let ranks = ranks(crates);
    let highest = ranks.values().copied().max().unwrap_or(0);
    let mut rows: Vec<Vec<Place>> = vec![Vec::new(); highest + 1];
    for (name, rank) in &ranks {
        rows[*rank].push(Place::Box(name.clone()));
    }
    // The places that each arrow goes through, from above.
    let mut ways = Vec::new();
    for (from, to) in &arrows {
        let mut way = vec![(ranks[from], Place::Box(from.clone()))];
        for rank in (ranks[to] + 1..ranks[from]).rev() {
            let place = Place::Passage(from.clone(), to.clone());
            rows[rank].push(place.clone());
            way.push((rank, place));
        }
        way.push((ranks[to], Place::Box(to.clone())));
        ways.push(way);
    }
    order(&mut rows, &ways);

    let mut places = BTreeMap::new();
    let mut y = top;
    for rank in (0..=highest).rev() {
        let (boxes, passages) = rows[rank].iter().fold((0.0, 0.0), |(boxes, passages), place| match place {
            Place::Box(_) => (boxes + 1.0, passages),
            Place::Passage(..) => (boxes, passages + 1.0),
        });
        let room = WIDTH - 2.0 * MARGIN - passages * PASSAGE - GAP * (boxes + passages - 1.0);
        let wide = (room / boxes).min(170.0);
        let used = boxes * wide + passages * PASSAGE + GAP * (boxes + passages - 1.0);
        let stretch =
            if boxes + passages > 1.0 { (WIDTH - 2.0 * MARGIN - used) / (boxes + passages) } else { 0.0 };
        let lines = |name: &str| wrap(&crates[name].description, SMALL, wide - 16.0);
        let most = rows[rank].iter().map(|place| match place {
            Place::Box(name) => lines(name).len(),
            Place::Passage(..) => 0,
        });
        let height = 30.0 + SMALL_LEADING * most.max().unwrap_or(0) as f64;
        let mut x = MARGIN + stretch / 2.0;
        for place in &rows[rank] {
            let across = match place {
                Place::Box(name) => {
                    picture.rectangle(crates[name].class, (x, y), (wide, height));
                    picture.text(Style { bold: true, ..TEXT }, (x + 8.0, y + 18.0), name);
                    for (at, line) in lines(name).iter().enumerate() {
                        picture.text(SMALL, (x + 8.0, y + 34.0 + SMALL_LEADING * at as f64), line);
                    }
                    wide
                }
                Place::Passage(..) => PASSAGE,
            };
            places.insert((rank, place.clone()), (x, y, across, height));
            x += across + GAP + stretch;
        }
        y += height + RISE;
    }
    draw_ways(picture, &ways, &places);
    y - RISE
}

type Places = BTreeMap<(usize, Place), (f64, f64, f64, f64)>;

/// Draws the arrows; those at one side of a box have each their own place there, in the order of their ends.
fn draw_ways(picture: &mut Picture, ways: &[Vec<(usize, Place)>], places: &Places) {
    let middle = |at: &(usize, Place)| places[at].0 + places[at].2 / 2.0;
    let port = |at: &(usize, Place), ends: Vec<f64>, own: f64| -> f64 {
        let (x, _, across, _) = places[at];
        let before = ends.iter().filter(|end| **end < own).count() as f64;
        x + across * (before + 1.0) / (ends.len() as f64 + 1.0)
    };
    for way in ways {
        let (first, last) = (&way[0], &way[way.len() - 1]);
        let out: Vec<f64> =
            ways.iter().filter(|other| other[0] == *first).map(|other| middle(&other[1])).collect();
        let into: Vec<f64> = ways
            .iter()
            .filter(|other| other[other.len() - 1] == *last)
            .map(|other| middle(&other[other.len() - 2]))
            .collect();
        let (_, y, _, height) = places[first];
        let (mut x, mut y) = (port(first, out, middle(&way[1])), y + height);
        let mut path = format!("M{x:.1} {y:.1}");
        for place in &way[1..] {
            let (_, top, _, height) = places[place];
            let end = if place == last {
                port(last, into.clone(), middle(&way[way.len() - 2]))
            } else {
                middle(place)
            };
            let goal = if place == last { top - 1.0 } else { top };
            let half = f64::midpoint(y, goal);
            path += &format!(" C{x:.1} {half:.1} {end:.1} {half:.1} {end:.1} {goal:.1}");
            (x, y) = (end, goal);
            if place != last {
                y = top + height;
                path += &format!(" L{x:.1} {y:.1}");
            }
        }
        picture.path(&path, false, true);
    }
}

/// Returns each dependency that does not follow from others.
fn reduced(crates: &Crates) -> Vec<(String, String)> {
    let mut arrows = Vec::new();
    for (name, one) in crates {
        for to in one.uses.iter().filter(|to| crates.contains_key(*to)) {
            let follows = one.uses.iter().any(|by| by != to && reaches(crates, by, to));
            if !follows {
                arrows.push((name.clone(), to.clone()));
            }
        }
    }
    arrows
}

fn reaches(crates: &Crates, from: &str, to: &str) -> bool {
    crates.get(from).is_some_and(|one| one.uses.iter().any(|next| next == to || reaches(crates, next, to)))
}

/// Returns the row of each crate, from below. What no other crate is made of stands above everything.
fn ranks(crates: &Crates) -> BTreeMap<String, usize> {
    fn depth(crates: &Crates, name: &str) -> usize {
        let below = crates[name].uses.iter().filter(|other| crates.contains_key(*other));
        below.map(|other| depth(crates, other) + 1).max().unwrap_or(0)
    }
    let used: BTreeSet<&String> = crates.values().flat_map(|one| &one.uses).collect();
    let highest = crates.keys().map(|name| depth(crates, name)).max().unwrap_or(0);
    let rank = |name: &String| if used.contains(name) { depth(crates, name) } else { highest };
    crates.keys().map(|name| (name.clone(), rank(name))).collect()
}

/// Puts the places of each row into an order in which arrows cross seldom: near to those that they lead to.
fn order(rows: &mut [Vec<Place>], ways: &[Vec<(usize, Place)>]) {
    for turn in 0..12 {
        let down = turn % 2 == 0;
        for at in 0..rows.len() {
            let rank = if down { rows.len() - 1 - at } else { at };
            let share = |row: &Vec<Place>, place: &Place| {
                let at = row.iter().position(|other| other == place).unwrap_or(0);
                (at as f64 + 0.5) / row.len() as f64
            };
            let weight = |place: &Place| {
                let own = share(&rows[rank], place);
                let near: Vec<f64> = ways
                    .iter()
                    .flat_map(|way| way.windows(2))
                    .filter_map(|pair| match pair {
                        [above, below] if down && below.0 == rank && below.1 == *place => Some(above),
                        [above, below] if !down && above.0 == rank && above.1 == *place => Some(below),
                        _ => None,
                    })
                    .map(|(rank, other)| share(&rows[*rank], other))
                    .collect();
                if near.is_empty() { own } else { near.iter().sum::<f64>() / near.len() as f64 }
            };
            let mut weighed: Vec<(f64, Place)> =
                rows[rank].iter().map(|place| (weight(place), place.clone())).collect();
            weighed.sort_by(|a, b| a.0.total_cmp(&b.0));
            rows[rank] = weighed.into_iter().map(|(_, place)| place).collect();
        }
    }
}

/// Draws crates in columns, each with the names of those it is made of; returns where they end.
fn grid(picture: &mut Picture, crates: &Crates, top: f64) -> f64 {
    let wide = (WIDTH - 2.0 * MARGIN - GAP * (COLUMNS as f64 - 1.0)) / COLUMNS as f64;
    let texts: Vec<_> = crates
        .iter()
        .map(|(name, one)| {
            let uses: Vec<&str> = one.uses.iter().map(String::as_str).collect();
            let uses = if uses.is_empty() { String::new() } else { format!("uses {}", uses.join(", ")) };
            (name, one.class, wrap(&one.description, SMALL, wide - 16.0), wrap(&uses, SMALL, wide - 16.0))
        })
        .collect();
    let mut y = top;
    for row in texts.chunks(COLUMNS) {
        let most = row.iter().map(|(_, _, does, uses)| does.len() + uses.len()).max().unwrap_or(0);
        let height = LEADING + 14.0 + SMALL_LEADING * most as f64;
        for (at, (name, class, does, uses)) in row.iter().enumerate() {
            let x = MARGIN + (wide + GAP) * at as f64;
            picture.rectangle(class, (x, y), (wide, height));
            picture.text(Style { bold: true, ..TEXT }, (x + 8.0, y + 18.0), name);
            for (line, text) in does.iter().enumerate() {
                picture.text(SMALL, (x + 8.0, y + 34.0 + SMALL_LEADING * line as f64), text);
            }
            for (line, text) in uses.iter().enumerate() {
                let below = does.len() + line;
                picture.text(
                    Style { faint: false, ..SMALL },
                    (x + 8.0, y + 34.0 + SMALL_LEADING * below as f64),
                    text,
                );
            }
        }
        y += height + GAP;
    }
    y - GAP
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crates(uses: &[(&str, &[&str])]) -> Crates {
        let one = |uses: &[&str]| Crate {
            description: String::new(),
            class: "blue",
            ships: true,
            uses: uses.iter().map(|&name| name.to_owned()).collect(),
        };
        uses.iter().map(|(name, uses)| ((*name).to_owned(), one(uses))).collect()
    }

    #[test]
    fn an_arrow_that_follows_from_others_is_left_out() {
        let crates = crates(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[]), ("d", &["c"])]);
        let arrow = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(reduced(&crates), [arrow("a", "b"), arrow("b", "c"), arrow("d", "c")]);
        let ranks: Vec<usize> = ranks(&crates).into_values().collect();
        assert_eq!(ranks, [2, 1, 0, 2]);
    }
}
