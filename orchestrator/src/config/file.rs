//! The configuration file: read whole, and told what is wrong with it line by line.

use super::{
    options::Options,
    settings::{Layer, Settings},
};
use crate::{Error, error::Kind, secret::Secret};
use std::{
    fmt, fs,
    ops::Range,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use toml::de::{DeTable, DeValue};

/// Two words closer than this are taken for the same, mistyped (Jaro and Winkler's measure, which
/// clap uses for its own suggestions).
const ALIKE: f64 = 0.8;

/// Something that is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// What the file says.
///
/// # Errors
/// Where it can't be read, or something is wrong with it: the first of it, with its line.
pub(crate) fn read(path: &Path) -> Result<Options, Error> {
    match check(path)? {
        (Some(options), problems) if problems.is_empty() => Ok(options),
        (_, problems) => {
            let first = problems.first().map(ToString::to_string);
            let more = match problems.len() {
                0 | 1 => String::new(),
                all => format!(" (and {} more: `haven config check` lists them)", all - 1),
            };
            let first = first.unwrap_or_default();
            let message = format!("{}, {first}{more}", path.display());
            Err(super::invalid(&message))
        }
    }
}

/// What the file says, and all that is wrong with it.
///
/// # Errors
/// Where it can't be read.
pub(crate) fn check(path: &Path) -> Result<(Option<Options>, Vec<Problem>), Error> {
    let fail = |error| super::invalid(&format!("can't read {}", path.display())).caused_by(error);
    let text = fs::read_to_string(path).map_err(fail)?;
    let mode = fs::metadata(path).map_err(fail)?.permissions().mode();
    let mut problems = problems(&text);
    // Its group may: that is how a service's file belongs to the administrator.
    if mode & 0o007 != 0 {
        problems.extend(secrets(&text));
        problems.sort_by_key(|problem| problem.line);
    }
    Ok((toml::from_str(&text).ok(), problems))
}

/// The secrets that a file holds which everybody may read.
fn secrets(text: &str) -> Vec<Problem> {
    let table = DeTable::parse(text).map(toml::Spanned::into_inner);
    let secret = |key: &toml::Spanned<_>| is_secret(AsRef::<str>::as_ref(key.get_ref()));
    let keys = table.unwrap_or_default().into_iter().map(|(key, _)| key);
    keys.filter(secret)
        .map(|key| Problem {
            line: line_of(text, key.span().start),
            message: format!(
                "`{}` is a secret, and everybody may read this file: set its mode to 0600 or 0640",
                key.get_ref()
            ),
        })
        .collect()
}

/// All that is wrong with a file's text, by line.
fn problems(text: &str) -> Vec<Problem> {
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => return vec![of_error(text, 0, &error)],
    };
    let mut problems = Vec::new();
    for (key, value) in table.get_ref() {
        let name: &str = key.get_ref();
        let line = line_of(text, key.span().start);
        if !Options::KEYS.contains(&name) {
            let message = format!("`{name}` is no setting{}", suggestion(name));
            problems.push(Problem { line, message });
        } else if !matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_)) {
            problems.extend(value_problem(
                text,
                name,
                key.span().start..value.span().end,
            ));
        }
    }
    // What hasn't been looked at piece by piece.
    if problems.is_empty()
        && let Err(error) = toml::from_str::<Options>(text)
    {
        problems.push(of_error(text, 0, &error));
    }
    problems.sort_by_key(|problem| problem.line);
    problems
}

/// What is wrong with the value of a key that is known.
fn value_problem(text: &str, name: &str, place: Range<usize>) -> Option<Problem> {
    let piece = text.get(place.clone())?;
    let line = line_of(text, place.start);
    let options: Options = match toml::from_str(piece) {
        Ok(options) => options,
        // What was read instead would be quoted.
        Err(_) if is_secret(name) => {
            let message = format!("`{name}`: must be a text in quotes");
            return Some(Problem { line, message });
        }
        Err(error) => {
            let mut problem = of_error(text, place.start, &error);
            problem.message = format!("`{name}`: {}", problem.message);
            return Some(problem);
        }
    };
    let error = Settings::new(options.layer(), PathBuf::new()).err()?;
    // The API has another name for some.
    let message = error.message();
    let why = message.split_once("` ").map_or(message, |(_, why)| why);
    let message = format!("`{name}`: {why}");
    Some(Problem { line, message })
}

fn is_secret(name: &str) -> bool {
    matches!(
        name,
        "api_token" | "livekit_api_secret" | "webhook_api_secret"
    )
}

/// An error of the parser. Its own text quotes the line, which may hold a secret.
fn of_error(text: &str, offset: usize, error: &toml::de::Error) -> Problem {
    let place = error.span().map_or(offset, |span| offset + span.start);
    Problem {
        line: line_of(text, place),
        message: error.message().trim().replace('\n', ", "),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or_default();
    before.matches('\n').count() + 1
}

/// The key that was probably meant.
fn suggestion(name: &str) -> String {
    let name = name.to_lowercase().replace('-', "_");
    let likeness = |key: &&str| strsim::jaro_winkler(&name, key);
    let keys = Options::KEYS.iter().copied().chain(
        // Clients know some by another name.
        Layer::NAMES.iter().copied(),
    );
    let nearest = keys
        .map(|key| (likeness(&key), key))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, key)) => format!(": did you mean `{}`?", Layer::option_of(key).unwrap_or(key)),
        None => "; docs/configuration.md lists them".to_owned(),
    }
}

/// The secret in a file that nobody else may read; `what` it is for its errors.
pub(super) fn read_secret(what: &str, path: &Path) -> Result<Secret, Error> {
    let fail = |why: &str| {
        Error::new(
            Kind::BadRequest,
            "invalid_configuration",
            format!("{what}: the file {} {why}", path.display()),
        )
    };
    let metadata = fs::metadata(path).map_err(|error| fail("can't be read").caused_by(error))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(fail("may be read by others: set its mode to 0600"));
    }
    let text = fs::read_to_string(path).map_err(|error| fail("can't be read").caused_by(error))?;
    match text.trim() {
        "" => Err(fail("is empty")),
        token => Ok(Secret::new(token)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        problems(text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_key_that_is_none_is_told_with_its_line_and_the_nearest_one() {
        for (wrong, right) in [
            ("demmo", "demo"),
            ("split_minute", "split_minutes"),
            ("waiting-timeout-s", "waiting_timeout_s"),
            ("waiting_timeout", "waiting_timeout_s"),
            ("recording_directory", "recording_dir"),
            ("LIVEKIT_URL", "livekit_url"),
            ("allowed_origin", "allowed_origins"),
        ] {
            assert_eq!(
                told(&format!("\n# a comment\n{wrong} = 1\n")),
                [format!(
                    "line 3: `{wrong}` is no setting: did you mean `{right}`?"
                )]
            );
        }
        let far = told("colour = 'red'\n");
        assert!(far[0].contains("docs/configuration.md"), "{far:?}");
    }

    #[test]
    fn all_that_is_wrong_is_told_in_the_files_order() {
        let told = told(
            "listen = 'nowhere'\nretain_days = 'x'\nsplit_minutes = 99999999\nlissten = 1\n\
             demo = true\nallowed_hosts = 'one'\n[server]\nx = 1\n",
        );
        let lines: Vec<_> = told
            .iter()
            .filter_map(|line| line.split(':').next())
            .collect();
        assert_eq!(
            lines,
            ["line 1", "line 2", "line 3", "line 4", "line 6", "line 7"],
            "{told:#?}"
        );
        assert!(
            told[2].contains("`split_minutes`: must be from"),
            "{told:#?}"
        );
    }

    #[test]
    fn a_secret_that_is_mistyped_is_not_quoted() {
        for text in [
            "api_token = 123456\n",
            "livekit_api_secret = s123456\n",
            "webhook_api_secret = 123456\n",
        ] {
            let told = told(text);
            assert!(told.len() == 1 && !told[0].contains("123456"), "{told:?}");
        }
    }

    #[test]
    fn a_file_in_order_has_no_problem() {
        let text = "listen = '127.0.0.1:0'\nallowed_hosts = ['a', 'b']\ndemo = true\n";
        assert!(problems(text).is_empty());
        assert!(problems("").is_empty());
    }
}
