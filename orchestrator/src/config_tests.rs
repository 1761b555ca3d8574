use super::*;
use std::os::unix::fs::PermissionsExt;

fn home(name: &str) -> Option<String> {
    (name == "HOME").then(|| "/home/me".to_owned())
}

fn file(dir: &tempfile::TempDir, text: &str) -> ServeArgs {
    let path = dir.path().join("haven.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    ServeArgs {
        config: Some(path),
        ..ServeArgs::default()
    }
}

fn settings(config: &Config) -> Settings {
    config.layers.settings(Layer::default()).unwrap()
}

#[test]
fn without_settings_it_serves_loopback_from_the_home_folder() {
    let config = Config::resolve(&ServeArgs::default(), home).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8000");
    assert_eq!(config.data_dir, Path::new("/home/me/.local/share/haven"));
    let settings = settings(&config);
    assert_eq!(
        settings.recording_directory,
        Path::new("/home/me/.local/share/haven/recordings")
    );
    assert!(settings.livekit.is_none() && config.api_token.is_none() && !config.demo);
    assert!(config.worker.ends_with("haven-worker"));
}

#[test]
fn the_command_line_beats_the_environment_beats_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut args = file(
        &dir,
        "data_dir = '~/d'\ndemo = true\nwaiting_timeout_s = 5\nlivekit_url = 'ws://file'\n\
         livekit_api_key = 'k'\nlivekit_api_secret = 's'\n",
    );
    args.options.waiting_timeout_s = Some(7);
    let config = Config::resolve(&args, |name| match name {
        "LIVEKIT_URL" => Some("ws://env".into()),
        name => home(name),
    })
    .unwrap();
    assert_eq!(config.data_dir, Path::new("/home/me/d"));
    let settings = settings(&config);
    assert_eq!(settings.waiting_timeout.as_secs(), 7);
    assert!(config.demo);
    let livekit = settings.livekit.unwrap();
    assert_eq!(
        (livekit.url.as_str(), livekit.api_key.as_str()),
        ("ws://env", "k")
    );
}

#[test]
fn a_mistake_in_the_file_names_its_line_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let args = file(&dir, "demo = true\nlivekit_api_secret = s3cret\n");
    let error = Config::resolve(&args, home).unwrap_err().chain();
    assert!(
        error.contains("line 2") && !error.contains("s3cret"),
        "{error}"
    );
    let error = Config::resolve(&file(&dir, "\n\ndemmo = true\n"), home).unwrap_err();
    assert!(error.message().contains("line 3"), "{error}");
}

#[test]
fn an_open_address_needs_a_token_or_an_explicit_no_auth() {
    let mut args = ServeArgs {
        options: Options {
            listen: Some("0.0.0.0:0".parse().unwrap()),
            ..Options::default()
        },
        ..ServeArgs::default()
    };
    assert!(Config::resolve(&args, home).is_err());
    let token = |name: &str| match name {
        "HAVEN_API_TOKEN" => Some("t0ken\n".to_owned()),
        name => home(name),
    };
    let config = Config::resolve(&args, token).unwrap();
    assert!(config.api_token.unwrap().matches("t0ken"));
    args.options.no_auth = Some(true);
    assert!(Config::resolve(&args, home).unwrap().api_token.is_none());
    let both = Config::resolve(&args, token).unwrap_err();
    assert!(both.message().contains("no_auth"), "{both}");
}

#[test]
fn what_recordings_are_by_default_is_looked_at_before_the_first() {
    let args = |format: Option<&str>, quality: Option<&str>| ServeArgs {
        options: Options {
            default_output_format: format.map(str::to_owned),
            default_video_quality: quality.map(str::to_owned),
            ..Options::default()
        },
        ..ServeArgs::default()
    };
    for good in [args(Some("webm"), Some("high")), args(Some("wav"), None)] {
        assert!(Config::resolve(&good, home).is_ok());
    }
    for (bad, name) in [
        (args(Some("gif"), None), "default_output_format"),
        (args(None, Some("ultra")), "default_video_quality"),
    ] {
        let error = Config::resolve(&bad, home).unwrap_err();
        assert!(error.message().contains(name), "{error}");
    }
    // The operator's own formats are known to the worker alone.
    let own = ServeArgs {
        options: Options {
            formats_dir: Some("/formats".into()),
            ..args(Some("gif"), None).options
        },
        ..ServeArgs::default()
    };
    assert!(Config::resolve(&own, home).is_ok());
}

#[test]
fn a_token_file_that_others_may_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "t0ken\n").unwrap();
    let args = ServeArgs {
        options: Options {
            api_token_file: Some(path.clone()),
            ..Options::default()
        },
        ..ServeArgs::default()
    };
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(&path, mode(0o644)).unwrap();
    assert!(Config::resolve(&args, home).is_err());
    std::fs::set_permissions(&path, mode(0o600)).unwrap();
    let config = Config::resolve(&args, home).unwrap();
    assert!(config.api_token.unwrap().matches("t0ken"));
}

#[test]
fn a_livekit_address_that_is_none_is_refused() {
    let error = Config::resolve(&ServeArgs::default(), |name| match name {
        "LIVEKIT_URL" => Some("example.org".into()),
        "LIVEKIT_API_KEY" | "LIVEKIT_API_SECRET" => Some("x".into()),
        name => home(name),
    })
    .unwrap_err();
    assert!(error.message().contains("LIVEKIT_URL"));
}

#[test]
fn a_file_with_a_secret_that_everybody_may_read_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let args = file(&dir, "demo = true\nwebhook_api_secret = 's3cret'\n");
    let path = args.config.clone().unwrap();
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(&path, mode(0o644)).unwrap();
    let error = Config::resolve(&args, home).unwrap_err();
    let told = error.message();
    assert!(told.contains("line 2") && told.contains("0600"), "{told}");
    assert!(!told.contains("s3cret"), "{told}");
    // Without a secret everybody may.
    std::fs::write(&path, "demo = true\n").unwrap();
    assert!(Config::resolve(&args, home).is_ok());
}

#[test]
fn webhooks_are_signed_with_a_key_and_its_secret_of_the_nearest_source() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "of the file\n").unwrap();
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(dir.path().join("secret"), private).unwrap();
    let resolve = |text: &str, variable: Option<&str>| {
        let args = file(&dir, text);
        let folder = dir.path().to_str().unwrap().to_owned();
        Config::resolve(&args, |name| match name {
            "HAVEN_WEBHOOK_API_SECRET" => variable.map(str::to_owned),
            "HOME" => Some(folder.clone()),
            _ => None,
        })
    };
    let keyed = "webhook_api_key = 'k'\nwebhook_api_secret_file = '~/secret'\n";
    let signed = |variable| {
        let (key, secret) = resolve(keyed, variable).unwrap().webhooks.key.unwrap();
        assert_eq!(key, "k");
        secret.expose().to_owned()
    };
    assert_eq!(signed(None), "of the file");
    assert_eq!(signed(Some("of the environment\n")), "of the environment");
    assert!(resolve("", None).unwrap().webhooks.key.is_none());
    for half in [
        "webhook_api_key = 'k'\n",
        "webhook_api_secret = 's'\n",
        "webhook_api_key = ''\nwebhook_api_secret = 's'\n",
        "webhook_api_key = 'k'\nwebhook_api_secret = ''\n",
        "webhook_queue = 0\n",
        "webhook_urls = ['example.org']\n",
    ] {
        let error = resolve(half, None).unwrap_err();
        assert!(error.message().contains("webhook_"), "{half}: {error}");
    }
}

#[test]
fn an_empty_token_protects_nothing_and_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let args = file(&dir, "api_token = ''\n");
    let error = Config::resolve(&args, home).unwrap_err();
    assert!(error.message().contains("empty"), "{error}");
}

#[test]
fn folders_do_not_depend_on_where_the_server_was_started() {
    let args = ServeArgs {
        options: Options {
            data_dir: Some("data".into()),
            recording_dir: Some("kept".into()),
            worker: Some("haven-worker".into()),
            ..Options::default()
        },
        ..ServeArgs::default()
    };
    let config = Config::resolve(&args, home).unwrap();
    let recordings = settings(&config).recording_directory;
    assert!(config.data_dir.is_absolute() && recordings.is_absolute());
    assert!(recordings.ends_with("kept"));
    assert!(config.layers.roots.contains(&recordings));
    assert_eq!(
        config.worker,
        Path::new("haven-worker"),
        "looked for in PATH"
    );
}

#[test]
fn an_option_is_told_from_its_environment_variable() {
    let args = ServeArgs {
        options: Options {
            waiting_timeout_s: Some(7),
            split_minutes: Some(9),
            ..Options::default()
        },
        on_command_line: ["split_minutes".to_owned()].into(),
        ..ServeArgs::default()
    };
    let layers = Config::resolve(&args, home).unwrap().layers;
    assert_eq!(layers.command_line.names(), ["split_minutes"]);
    assert_eq!(layers.environment.names(), ["waiting_timeout"]);
}
