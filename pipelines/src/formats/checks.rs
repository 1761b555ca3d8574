//! Collecting what is wrong in files of formats.

use super::{
    fill_in,
    text::{Located, Place, Problem},
};
use haven_wire::QualityPreset;

/// Collects what is wrong.
pub(super) struct Checks<'a>(pub(super) &'a mut Vec<Problem>);

impl Checks<'_> {
    pub(super) fn add(&mut self, place: &Place, text: &str) {
        self.0.push(problem(place, text.to_owned()));
    }

    pub(super) fn required<T>(&mut self, place: &Place, key: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.add(place, &format!("the key {key:?} is missing"));
        }
        value
    }

    /// Checks a text with its placeholders filled in.
    pub(super) fn text(&mut self, text: &Located<String>, check: fn(&str) -> Result<(), String>) {
        let filled = fill_in(&text.value, QualityPreset::default());
        let outcome = match placeholder(&filled) {
            Some(name) => Err(format!("the placeholder {{{name}}} is unknown")),
            None => check(&filled),
        };
        if let Err(text_problem) = outcome {
            self.add(&text.place, &text_problem);
        }
    }
}

/// A placeholder that wasn't filled in; a list of caps (`{ NV12, I420 }`) is none.
fn placeholder(text: &str) -> Option<&str> {
    text.split('{').skip(1).find_map(|rest| {
        let (name, _) = rest.split_once('}')?;
        let fits = |c: char| c.is_ascii_lowercase() || c == '_';
        (!name.is_empty() && name.chars().all(fits)).then_some(name)
    })
}

pub(super) fn problem(place: &Place, text: String) -> Problem {
    Problem {
        place: place.clone(),
        text,
    }
}
