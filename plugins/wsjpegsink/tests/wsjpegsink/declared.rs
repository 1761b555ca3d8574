//! What the element and its document say of it.

use crate::support::{Bench, init, number, picture, run};
use gst::prelude::*;
use std::process::Command;

#[test]
fn a_fresh_element_has_its_declared_defaults() {
    init();
    let sink = gst::ElementFactory::make("wsjpegsink").build().unwrap();
    let own = sink.list_properties();
    let own = own
        .iter()
        .filter(|pspec| pspec.owner_type() == sink.type_());
    let mut seen = 0;
    for pspec in own.filter(|pspec| pspec.flags().contains(gst::glib::ParamFlags::WRITABLE)) {
        let (value, default) = (sink.property_value(pspec.name()), pspec.default_value());
        let same = format!("{value:?}") == format!("{default:?}");
        assert!(same, "{}: {value:?} is not {default:?}", pspec.name());
        assert!(pspec.blurb().is_some_and(|blurb| blurb.len() > 20));
        seen += 1;
    }
    assert!(seen >= 13, "{seen} properties");
}

#[test]
fn the_document_names_every_property_signal_and_statistic_with_its_default() {
    init();
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/elements/wsjpegsink.md"
    );
    let document = std::fs::read_to_string(path).unwrap();
    let sink = gst::ElementFactory::make("wsjpegsink").build().unwrap();
    for pspec in sink.list_properties() {
        if pspec.owner_type() != sink.type_() {
            continue;
        }
        let row = format!("| `{}` |", pspec.name());
        let row = document.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("{} has no row", pspec.name()));
        if pspec.flags().contains(gst::glib::ParamFlags::WRITABLE) {
            let default = pspec.default_value();
            let default = match default.get::<Option<String>>() {
                Ok(None) => "NULL".to_owned(),
                Ok(Some(text)) if text.is_empty() => "empty".to_owned(),
                _ => default.serialize().unwrap().to_string(),
            };
            let written = row.split('|').nth(2).unwrap().trim().trim_matches('`');
            assert_eq!(written.replace(',', ""), default, "{row}");
        }
    }
    for signal in ["client-added", "client-removed", "drop-client"] {
        let known = gst::glib::subclass::SignalId::lookup(signal, sink.type_());
        assert!(
            known.is_some() && document.contains(&format!("- `{signal} (")),
            "{signal}"
        );
    }
    let bench = Bench::new().play();
    run(async {
        let _client = bench.client("/ws").await;
        bench.wait_for_clients(1);
        let stats = bench.sink.property::<gst::Structure>("stats");
        let clients = stats.get::<gst::Array>("client-stats").unwrap();
        let client = clients[0].get::<gst::Structure>().unwrap();
        for field in stats.fields().chain(client.fields()) {
            assert!(document.contains(&format!("| `{field}` |")), "{field}");
        }
    });
}

#[test]
fn gst_launch_shows_a_picture() {
    // The plugin as it is installed: cargo puts it beside the folder of this test.
    let test = std::env::current_exe().unwrap();
    let plugins = test.parent().and_then(|deps| deps.parent()).unwrap();
    assert!(plugins.join("libgstwsjpegsink.so").exists(), "{plugins:?}");
    let folder = tempfile::tempdir().unwrap();
    let launch = "videotestsrc num-buffers=5 ! jpegenc ! wsjpegsink sync=false";
    let output = Command::new("gst-launch-1.0")
        .args(launch.split(' '))
        .env("GST_PLUGIN_PATH", plugins)
        .env("GST_REGISTRY", folder.path().join("registry.bin"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("Got EOS"), "{text}");
    assert_eq!(number(&picture(5, 100)), 5);
}
