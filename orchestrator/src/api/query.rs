//! Query strings: each parameter read by its name and range.

use crate::Error;
use std::{convert::Infallible, ops::RangeInclusive};
use warp::Filter;

/// The parameters of a request. One that isn't known is ignored; of one given twice the first
/// counts.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

/// The request's query.
pub(super) fn query() -> impl Filter<Extract = (Query,), Error = Infallible> + Copy {
    warp::query::raw()
        .or(warp::any().map(String::new))
        .unify()
        .map(|raw: String| Query::parse(&raw))
}

impl Query {
    fn parse(raw: &str) -> Self {
        let pairs = url::form_urlencoded::parse(raw.as_bytes());
        Self(pairs.into_owned().collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// A whole number within `range`.
    pub(super) fn number(
        &self,
        name: &str,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> Result<u32, Error> {
        let Some(text) = self.get(name) else {
            return Ok(default);
        };
        text.parse()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let (least, most) = (range.start(), range.end());
                let expected = format!("must be a whole number from {least} to {most}");
                Error::field(name, expected)
            })
    }

    /// A text that isn't empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|text| !text.is_empty())
    }

    /// A flag.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, Error> {
        match self.get(name) {
            None => Ok(default),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(_) => Err(Error::field(name, "must be true or false")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_and_named_when_wrong() {
        let query = Query::parse("a=7&b=true&c=&a=9&d=%31");
        assert_eq!(query.number("a", 0..=10, 1).unwrap(), 7);
        assert_eq!(query.number("d", 0..=10, 5).unwrap(), 1);
        assert_eq!(query.number("x", 0..=10, 5).unwrap(), 5);
        assert!(query.flag("b", false).unwrap());
        assert!(!query.flag("x", false).unwrap());
        for error in [
            query.number("a", 0..=6, 1).unwrap_err(),
            query.flag("a", true).unwrap_err(),
        ] {
            assert!(error.message().contains("`a`"), "{error}");
        }
        assert_eq!((query.text("d"), query.text("c")), (Some("1"), None));
        assert!(query.number("c", 0..=6, 1).is_err());
        assert!(query.flag("c", true).is_err());
    }
}
