//! `docs/elements/*.md` against GStreamer's registry: what they say of properties, signals and pads
//! is so, and nothing is missing. All differences are told at once. And every block of shell in the
//! documents is known to something that runs it.

use gst::glib::{self, ParamFlags, subclass::SignalId, translate::IntoGlib};
use gst::prelude::*;
use haven_e2e::Result;
use haven_rig::repository;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Once;

const ELEMENTS: [&str; 3] = ["livekitsrc", "pumpfunmeta", "wsjpegsink"];
/// What a table has where there is no value.
const NONE: &str = "–";

fn element(name: &str) -> Result<gst::Element> {
    static INIT: Once = Once::new();
    let mut registered = Ok(());
    INIT.call_once(|| registered = register());
    registered?;
    Ok(gst::ElementFactory::make(name).build()?)
}

fn register() -> Result {
    gst::init()?;
    gstlivekitsrc::plugin_register_static()?;
    gstpumpfunmeta::plugin_register_static()?;
    gstwsjpegsink::plugin_register_static()?;
    Ok(())
}

/// The part of a document below a heading.
fn section(element: &str, heading: &str) -> Result<String> {
    let path = repository().join(format!("docs/elements/{element}.md"));
    let text = std::fs::read_to_string(&path)
        .map_err(|error| format!("{} can't be read: {error}", path.display()))?;
    let begin = format!("\n## {heading}\n");
    let section = text.split(&begin).nth(1).unwrap_or_default();
    Ok(section.split("\n## ").next().unwrap_or_default().to_owned())
}

/// The rows of a section's first table, cell by cell.
fn table(element: &str, heading: &str) -> Result<Vec<Vec<String>>> {
    let section = section(element, heading)?;
    let lines = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| {
        let row = row.trim_matches('|');
        row.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    Ok(rows.map(cells).collect())
}

/// What stands between backticks.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// A default as the document would write it, and as the registry has it.
fn default_of(property: &glib::ParamSpec) -> String {
    let value = property.default_value();
    if let Ok(text) = value.get::<Option<String>>() {
        return text.unwrap_or_else(|| "NULL".into());
    }
    if let Some((_, value)) = glib::EnumValue::from_value(value) {
        return value.nick().to_owned();
    }
    value.serialize().map_or_else(|_| NONE.into(), Into::into)
}

/// Whether the document's default is the registry's. For a text that is NULL or empty it may also
/// say in words what is taken then.
fn is_default(documented: &str, property: &glib::ParamSpec) -> bool {
    let default = default_of(property);
    let plain = documented.replace(['`', ','], "");
    if plain == default {
        return true;
    }
    let is_text = property.value_type() == String::static_type();
    let is_value = documented.starts_with('`') && !documented.contains("HAVEN_");
    match default.as_str() {
        "" if is_text => !is_value && documented != "NULL",
        "NULL" if is_text => !is_value && documented != "empty",
        _ => false,
    }
}

fn own_properties(element: &gst::Element) -> Vec<glib::ParamSpec> {
    let all = element.list_properties().to_vec();
    let own = all.into_iter();
    own.filter(|property| property.owner_type() == element.type_())
        .collect()
}

/// What is wrong with a property's row.
fn complaints(property: &glib::ParamSpec, default: &str, meaning: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let flags = property.flags();
    let readable = flags.contains(ParamFlags::READABLE);
    let writable = flags.contains(ParamFlags::WRITABLE);
    let mut expect = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{}: {what}", property.name()));
        }
    };
    if meaning.contains("read-only") == writable {
        expect(false, "read-only in one, writable in the other");
    }
    // A row may be about two properties one of which is secret.
    if !readable {
        expect(meaning.contains("write-only"), "it can't be read");
    }
    if writable {
        let has = format!("the default is {}, not {default}", default_of(property));
        expect(is_default(default, property), &has);
    } else {
        expect(default == NONE, "what is only read has no default");
    }
    if meaning.contains("while playing") {
        expect(
            flags.contains(gst::PARAM_FLAG_MUTABLE_PLAYING),
            "it can't be changed while playing",
        );
    }
    if let Some(values) = glib::EnumClass::with_type(property.value_type()) {
        let row = format!("{default} {meaning}");
        for value in values.values() {
            let named = code(&row).contains(&value.nick());
            expect(named, &format!("{} is missing", value.nick()));
        }
    }
    wrong
}

#[test]
fn the_tables_of_properties_are_those_of_the_registry() -> Result {
    let mut wrong = Vec::new();
    for name in ELEMENTS {
        let element = element(name)?;
        let mut known = BTreeSet::new();
        for row in table(name, "Properties")? {
            let [names, default, meaning] = row.as_slice() else {
                return Err(format!("{name}: {row:?} has another number of cells").into());
            };
            for property in code(names) {
                known.insert(property.to_owned());
                match element.find_property(property) {
                    Some(property) => wrong.extend(complaints(&property, default, meaning)),
                    None => wrong.push(format!("{name} has no property {property}")),
                }
            }
        }
        let missing = own_properties(&element);
        let missing = missing.iter().map(|property| property.name());
        let missing = missing.filter(|property| !known.contains(*property));
        wrong.extend(missing.map(|property| format!("{name}.md lacks {property}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// A signal: its name, the types of its parameters, and what it returns.
type Signature = (String, Vec<String>, String);

/// A signal as the registry has it.
fn describe(signal: SignalId) -> Signature {
    let query = signal.query();
    let types = query.param_types().iter();
    let types = types.map(|kind| kind.type_().name().to_owned());
    (
        query.signal_name().to_owned(),
        types.collect(),
        query.return_type().type_().name().to_owned(),
    )
}

/// A signal as the documents write it: `name (type name, …) → type`.
fn parse_signal(text: &str) -> Option<Signature> {
    let (name, rest) = text.split_once(" (")?;
    let (parameters, rest) = rest.split_once(')')?;
    let types = parameters.split(',').filter_map(|parameter| {
        let mut words = parameter.split_whitespace();
        words.next().map(str::to_owned)
    });
    let returns = rest.trim().strip_prefix("→ ").unwrap_or("void");
    Some((name.to_owned(), types.collect(), returns.to_owned()))
}

#[test]
fn the_lists_of_signals_are_those_of_the_registry() -> Result {
    for name in ELEMENTS {
        let element = element(name)?;
        let section = section(name, "Signals")?;
        let items = section.lines().filter_map(|line| line.strip_prefix("- `"));
        let documented: BTreeSet<_> = items
            .filter_map(|item| parse_signal(item.split('`').next()?))
            .collect();
        let known = own_signals(element.type_());
        assert_eq!(
            documented, known,
            "{name}: left the document, right the registry"
        );
    }
    Ok(())
}

fn own_signals(class: glib::Type) -> BTreeSet<Signature> {
    let mut count = 0;
    // SAFETY: the class is registered, since an element of it was made. What is returned is a block of
    // `count` numbers that is ours to free.
    let ids: Vec<_> = unsafe {
        let ids = glib::gobject_ffi::g_signal_list_ids(class.into_glib(), &raw mut count);
        let list = (0..count as usize).filter_map(|index| NonZeroU32::new(*ids.add(index)));
        let list = list.map(|id| SignalId::new(id)).collect();
        glib::ffi::g_free(ids.cast());
        list
    };
    ids.into_iter().map(describe).collect()
}

#[test]
fn the_tables_of_pads_are_those_of_the_registry() -> Result {
    for name in ELEMENTS {
        let element = element(name)?;
        let rows = table(name, "Pads")?;
        let mut left: BTreeSet<_> = rows.iter().filter_map(|row| row.first()).collect();
        for template in element.pad_template_list() {
            // The first pad of a numbered template stands for all.
            let pad = format!("`{}`", template.name_template().replace("%u", "0"));
            let row = rows.iter().find(|row| row.first() == Some(&pad));
            let Some([pad, presence, caps]) = row.map(Vec::as_slice) else {
                return Err(format!("{name}.md lacks the pad {pad}").into());
            };
            left.remove(pad);
            let expected = match template.presence() {
                gst::PadPresence::Always => "always",
                gst::PadPresence::Sometimes => "sometimes",
                gst::PadPresence::Request => "request",
            };
            assert!(
                presence.starts_with(expected),
                "{name}: {pad} is {expected}"
            );
            if template.caps().is_any() {
                assert_eq!(caps, "any", "{name}: {pad}");
            }
            let types: BTreeSet<_> = template.caps().iter().map(|caps| caps.name()).collect();
            let documented = code(caps);
            let documented = documented.into_iter().filter(|caps| caps.contains('/'));
            let documented: BTreeSet<_> = documented.collect();
            let types: BTreeSet<_> = types.into_iter().map(|name| name.as_str()).collect();
            assert_eq!(documented, types, "{name}: {pad}");
        }
        assert!(left.is_empty(), "{name} has no such pads: {left:?}");
    }
    Ok(())
}

/// The fields of `stats` that a fresh element has.
#[test]
fn the_documents_name_every_field_of_the_statistics() -> Result {
    for name in ELEMENTS {
        let stats = element(name)?.property::<gst::Structure>("stats");
        let text = std::fs::read_to_string(repository().join(format!("docs/elements/{name}.md")))?;
        let named: BTreeSet<_> = code(&text).into_iter().collect();
        assert!(
            named.contains(stats.name().as_str()),
            "{name}: {}",
            stats.name()
        );
        for field in stats.fields() {
            assert!(named.contains(field.as_str()), "{name}.md lacks {field}");
        }
    }
    Ok(())
}

#[test]
fn every_element_has_a_document_and_every_document_an_element() -> Result {
    let folder = std::fs::read_dir(repository().join("docs/elements"))?;
    let mut documents = BTreeSet::new();
    for entry in folder {
        documents.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    let expected: BTreeSet<_> = ELEMENTS.iter().map(|name| format!("{name}.md")).collect();
    assert_eq!(documents, expected);
    // A plugin's folder is one that builds a library of GStreamer's.
    let mut plugins = BTreeSet::new();
    for entry in std::fs::read_dir(repository().join("plugins"))? {
        let manifest = std::fs::read_to_string(entry?.path().join("Cargo.toml"))?;
        if let Some(library) = manifest.split("name = \"gst").nth(2) {
            let name = library.split('"').next().unwrap_or_default();
            plugins.insert(name.to_owned());
        }
    }
    assert_eq!(plugins, ELEMENTS.map(str::to_owned).into());
    Ok(())
}

/// A document, a part of each of its blocks of shell in their order, and who runs that.
const SHELL: [(&str, &[(&str, &str)]); 5] = [
    (
        "README.md",
        &[
            ("scripts/run.sh", "tests/e2e/tests/readme.rs"),
            ("live-sessions/start", "tests/e2e/tests/readme.rs"),
            ("recording/start", "tests/e2e/tests/readme.rs"),
            (
                "haven record demo --format h264 --output demo.mp4",
                "tests/e2e/tests/command_line.rs",
            ),
            // Where the tests set GST_PLUGIN_PATH, too.
            ("cargo build --workspace", "scripts/test.sh"),
            ("wsjpegsink port=9000", "tests/e2e/tests/readme.rs"),
            ("published.mp4", "tests/e2e/tests/readme.rs"),
            ("recorded.mp4", "tests/e2e/tests/readme.rs"),
            ("described.mp4", "tests/e2e/tests/readme.rs"),
            ("scripts/test.sh", ".ci/run"),
        ],
    ),
    ("docs/pipelines.md", &[]),
    (
        "docs/elements/livekitsrc.md",
        &[
            ("playbin3", "tests/e2e/tests/source_plays.rs"),
            ("room.video_0", "tests/e2e/tests/source_plays.rs"),
            ("audio-mode=mix", "tests/e2e/tests/source_plays.rs"),
        ],
    ),
    (
        "docs/elements/pumpfunmeta.md",
        &[
            ("coin.mp4", "tests/e2e/tests/coin_metadata.rs"),
            ("gst-launch-1.0 -m", "tests/e2e/tests/coin_metadata.rs"),
        ],
    ),
    (
        "docs/elements/wsjpegsink.md",
        &[("port=8080", "tests/e2e/tests/wsjpegsink_browser.rs")],
    ),
];

#[test]
fn every_block_of_shell_in_the_documents_is_run() -> Result {
    for (document, parts) in SHELL {
        let text = std::fs::read_to_string(repository().join(document))?;
        let blocks = text.split("```sh\n").skip(1);
        let blocks: Vec<_> = blocks.filter_map(|rest| rest.split("```").next()).collect();
        assert_eq!(blocks.len(), parts.len(), "{document}: {blocks:#?}");
        for (block, (part, runner)) in blocks.iter().zip(parts) {
            assert!(block.contains(part), "{document}: {part} isn't in {block}");
            let runner_text = std::fs::read_to_string(repository().join(runner))?;
            assert!(runner_text.contains(part), "{runner} doesn't run {part}");
        }
    }
    Ok(())
}
