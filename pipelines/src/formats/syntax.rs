//! As much of gst-launch's syntax as can be checked whatever is installed. Whether elements have
//! the properties that are set on them is GStreamer's to say.

use std::{iter::Peekable, str::Chars, str::FromStr};

/// Splits a piece of gst-launch syntax at its `!` into words. Quotes and backslashes are understood
/// and kept.
///
/// # Errors
/// A phrase that says what is wrong.
pub(super) fn parts(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut parts = vec![Vec::new()];
    let mut chars = text.chars().peekable();
    while let Some(word) = next_word(&mut chars)? {
        match (word.as_str(), parts.last_mut()) {
            ("!", _) => parts.push(Vec::new()),
            (_, Some(part)) => part.push(word),
            (_, None) => {}
        }
    }
    if parts.iter().any(Vec::is_empty) {
        return Err("an element is missing".into());
    }
    Ok(parts)
}

/// Checks a chain of elements and caps.
///
/// # Errors
/// A phrase that says what is wrong.
pub(super) fn check_chain(text: &str) -> Result<(), String> {
    for part in parts(text)? {
        let [head, options @ ..] = part.as_slice() else {
            continue;
        };
        if is_caps(head) {
            let caps = part.join(" ");
            gst::Caps::from_str(&caps).map_err(|_| format!("{caps:?} are no caps"))?;
        } else {
            check_element(head)?;
            options.iter().try_for_each(|option| check_option(option))?;
        }
    }
    Ok(())
}

/// Checks the options of one element.
///
/// # Errors
/// A phrase that says what is wrong.
pub(super) fn check_options(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Ok(());
    }
    match parts(text)?.as_slice() {
        [options] => options.iter().try_for_each(|option| check_option(option)),
        _ => Err("options are of one element; what follows it is its parser".into()),
    }
}

/// Checks an element's name.
///
/// # Errors
/// A phrase that says what is wrong.
pub(super) fn check_element(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if !name.is_empty() && name.chars().all(fits) {
        Ok(())
    } else {
        Err(format!("{name:?} is no element's name"))
    }
}

/// The elements that a checked piece of gst-launch syntax names.
pub(super) fn elements(text: &str) -> Vec<String> {
    let heads = parts(text).unwrap_or_default().into_iter();
    heads
        .filter_map(|part| part.into_iter().next())
        .filter(|head| !is_caps(head))
        .collect()
}

fn is_caps(head: &str) -> bool {
    head.split([',', '('])
        .next()
        .is_some_and(|name| name.contains('/') && !name.contains('='))
}

fn check_option(option: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-:".contains(c);
    match option.split_once('=') {
        Some(("name", _)) => Err("names are given to elements by the worker".into()),
        Some((key, value))
            if key.starts_with(|c: char| c.is_ascii_alphabetic())
                && key.chars().all(fits)
                && !value.is_empty() =>
        {
            Ok(())
        }
        _ => Err(format!(
            "{option:?} is no option: write PROPERTY=VALUE without spaces"
        )),
    }
}

fn next_word(chars: &mut Peekable<Chars<'_>>) -> Result<Option<String>, String> {
    while chars.next_if(|c| c.is_whitespace()).is_some() {}
    let mut word = String::new();
    let mut quote = None;
    while let Some(c) = chars.next_if(|c| quote.is_some() || !c.is_whitespace()) {
        word.push(c);
        match (c, quote) {
            ('\\', _) => word.extend(chars.next()),
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('!', None) if word != "!" || chars.peek().is_some_and(|c| !c.is_whitespace()) => {
                return Err(format!("write spaces around the ! at {word:?}"));
            }
            _ => {}
        }
    }
    match quote {
        Some(_) => Err(format!("the quotation mark of {word:?} isn't closed")),
        None if word.is_empty() => Ok(None),
        None => Ok(Some(word)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_split_at_its_exclamation_marks_and_not_within_quotes() {
        assert_eq!(
            parts(r#"a x="1 ! 2" y='"' ! video/x-raw, format=NV12"#).unwrap(),
            [
                vec!["a", r#"x="1 ! 2""#, r#"y='"'"#],
                vec!["video/x-raw,", "format=NV12"]
            ]
        );
        assert_eq!(
            elements("h264parse ! video/x-h264,alignment=au ! b"),
            ["h264parse", "b"]
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        gst::init().unwrap();
        for (chain, word) in [
            ("", "missing"),
            ("a ! ! b", "missing"),
            ("a !", "missing"),
            ("a! b", "spaces"),
            ("a x=\"1", "quotation mark"),
            ("a x", "PROPERTY=VALUE"),
            ("a x=", "PROPERTY=VALUE"),
            ("a x = 1", "PROPERTY=VALUE"),
            ("a name=mux", "names"),
            ("t. ! a", "no element's name"),
            ("a ! video/x-h264,=", "no caps"),
        ] {
            let error = check_chain(chain).unwrap_err();
            assert!(error.contains(word), "{chain}: {error}");
        }
        for chain in [
            "a",
            "a x=1 y-z=\"1 2\"",
            "a ! video/x-raw, format=NV12 ! b",
            "a x::y=1",
        ] {
            check_chain(chain).unwrap();
        }
        check_options("").unwrap();
        assert!(
            check_options("x=1 ! a")
                .unwrap_err()
                .contains("one element")
        );
    }
}
