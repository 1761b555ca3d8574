//! Request bodies: JSON objects, bounded, each field read by its name and type.

use crate::{Error, error::Kind};
use futures_util::{Stream, StreamExt};
use serde_json::{Map, Value};
use std::{pin::pin, time::Duration};
use warp::{Buf, Filter, Rejection};

/// Largest request body, in bytes.
const MAX_BODY_BYTES: usize = 64 << 10;
/// A body that takes longer is given up.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// The fields of a request.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

/// The request's body as a JSON object.
pub(super) fn fields() -> impl Filter<Extract = (Result<Fields, Error>,), Error = Rejection> + Copy
{
    warp::body::stream().then(|body| async move {
        match tokio::time::timeout(BODY_TIMEOUT, collect(body)).await {
            Ok(body) => parse(&body?),
            Err(_) => Err(malformed("The request's body did not arrive in time")),
        }
    })
}

fn malformed(message: impl Into<String>) -> Error {
    Error::new(Kind::BadRequest, "malformed_request", message)
}

async fn collect<B: Buf>(
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Vec<u8>, Error> {
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let mut chunk =
            chunk.map_err(|error| malformed("The request's body broke off").caused_by(error))?;
        if bytes.len() + chunk.remaining() > MAX_BODY_BYTES {
            return Err(Error::new(
                Kind::TooLarge,
                "body_too_large",
                "The request's body is larger than 64 KiB",
            ));
        }
        while chunk.has_remaining() {
            let part = chunk.chunk();
            let length = part.len();
            bytes.extend_from_slice(part);
            chunk.advance(length);
        }
    }
    Ok(bytes)
}

fn parse(body: &[u8]) -> Result<Fields, Error> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(Fields(fields)),
        Ok(_) => Err(Error::new(
            Kind::Unprocessable,
            "invalid_field",
            "The request's body must be a JSON object",
        )),
        Err(error) => Err(Error::new(
            Kind::BadRequest,
            "malformed_json",
            format!("The request's body is no JSON: {error}"),
        )),
    }
}

impl Fields {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Whether a field is there and not null.
    pub(super) fn names(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All of them.
    pub(super) fn map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// A text; null counts as absent.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Error> {
        self.get(name)
            .map(|value| {
                value
                    .as_str()
                    .ok_or_else(|| Error::field(name, "must be a text"))
            })
            .transpose()
    }

    /// A list of texts; null counts as absent.
    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Error> {
        let must = || Error::field(name, "must be a list of texts");
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(must);
        self.get(name)
            .map(|value| {
                let list = value.as_array().ok_or_else(must)?;
                list.iter().map(text).collect()
            })
            .transpose()
    }

    /// A text that must be there and not empty.
    pub(super) fn required_text(&self, name: &str) -> Result<&str, Error> {
        match self.text(name)? {
            None => Err(Error::field(name, "is missing")),
            Some("") => Err(Error::field(name, "must not be empty")),
            Some(text) => Ok(text),
        }
    }

    /// A flag; absent is false.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Error> {
        self.flag_or(name, false)
    }

    /// A flag with a default.
    pub(super) fn flag_or(&self, name: &str, default: bool) -> Result<bool, Error> {
        self.get(name).map_or(Ok(default), |value| {
            value
                .as_bool()
                .ok_or_else(|| Error::field(name, "must be true or false"))
        })
    }

    /// A number from `range`.
    pub(super) fn number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<f64>,
    ) -> Result<Option<f64>, Error> {
        let must = || {
            let (least, most) = (range.start(), range.end());
            Error::field(
                name,
                format_args!("must be a number from {least} to {most}"),
            )
        };
        self.get(name)
            .map(|value| {
                let number = value.as_f64().filter(|number| range.contains(number));
                number.ok_or_else(must)
            })
            .transpose()
    }

    /// A number of bytes.
    pub(super) fn bytes(&self, name: &str) -> Result<Option<u64>, Error> {
        self.get(name)
            .map(|value| {
                value
                    .as_u64()
                    .ok_or_else(|| Error::field(name, "must be a whole number of bytes"))
            })
            .transpose()
    }

    /// A number of a row.
    pub(super) fn id(&self, name: &str) -> Result<Option<i64>, Error> {
        self.get(name)
            .map(|value| {
                value
                    .as_i64()
                    .ok_or_else(|| Error::field(name, "must be a whole number"))
            })
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_another_type_is_named() {
        let fields = parse(br#"{"a": 1, "b": "x", "c": null, "d": "", "more": []}"#).unwrap();
        assert!(fields.text("a").unwrap_err().message().contains("`a`"));
        assert!(fields.flag("b").unwrap_err().message().contains("`b`"));
        assert!(fields.id("b").unwrap_err().message().contains("`b`"));
        assert_eq!(fields.text("c").unwrap(), None);
        assert!(!fields.flag("c").unwrap());
        for name in ["c", "d", "e"] {
            let error = fields.required_text(name).unwrap_err();
            assert_eq!(error.kind(), Kind::Unprocessable);
            assert!(error.message().contains(name));
        }
    }

    #[test]
    fn what_is_no_json_is_not_the_same_as_what_is_no_object() {
        assert_eq!(parse(b"").unwrap_err().kind(), Kind::BadRequest);
        assert_eq!(parse(b"{\"a\":").unwrap_err().kind(), Kind::BadRequest);
        assert_eq!(parse(b"[1]").unwrap_err().kind(), Kind::Unprocessable);
    }

    #[tokio::test]
    async fn a_large_body_is_refused_without_being_kept() {
        let chunk = || Ok::<_, warp::Error>(&[0u8; 4096][..]);
        let endless = futures_util::stream::repeat_with(chunk);
        let error = collect(endless).await.unwrap_err();
        assert_eq!(error.kind(), Kind::TooLarge);
    }
}
