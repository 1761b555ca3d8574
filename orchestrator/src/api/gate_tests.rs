use super::*;

const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5));

fn gate(token: Option<&str>) -> Gate {
    Gate {
        token: token.map(Secret::new),
        origins: OriginPolicy::new(["https://app.example"]).unwrap(),
        hosts: vec!["haven.example".into()],
    }
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut builder = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap()
}

fn verdict(gate: &Gate, method: &str, uri: &str, headers: &[(&str, &str)]) -> Option<Kind> {
    let request = request(method, uri, headers);
    gate.check(&request, LOCAL).err().map(|error| error.kind())
}

#[test]
fn the_server_answers_only_to_its_own_names() {
    for (host, known) in [
        ("localhost:8000", true),
        ("127.0.0.1", true),
        ("127.1.2.3:8000", true),
        ("[::1]:8000", true),
        ("10.0.0.5:8000", true),
        ("10.0.0.6:8000", false),
        ("Haven.Example:443", true),
        ("evil.example", false),
        ("localhost.evil.example", false),
        ("", false),
    ] {
        let verdict = verdict(&gate(None), "GET", "/api/x", &[("host", host)]);
        assert_eq!(verdict, (!known).then_some(Kind::Misdirected), "{host}");
    }
    assert_eq!(
        verdict(&gate(None), "GET", "/api/x", &[]),
        Some(Kind::Misdirected)
    );
}

#[test]
fn pages_of_allowed_origins_may_read_what_files_and_lists_tell_in_headers() {
    for (origin, shared) in [
        ("https://app.example", true),
        ("https://evil.example", false),
    ] {
        let mut headers = HeaderMap::new();
        let asked = request("GET", "/", &[("origin", origin)]);
        gate(None).share(asked.headers(), &mut headers);
        let exposed = headers.get("access-control-expose-headers");
        let exposed = exposed.map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(exposed.is_some(), shared, "{origin}");
        for name in ["warning", "etag", "content-range", "content-disposition"] {
            let named = exposed.iter().any(|names| names.contains(name));
            assert_eq!(named, shared, "{origin} {name}");
        }
    }
}

#[test]
fn foreign_pages_may_not_change_state_nor_open_sockets() {
    let host = ("host", "localhost");
    for (origin, allowed) in [
        ("https://app.example", true),
        ("http://localhost:3000", true),
        ("https://evil.example", false),
        ("null", false),
    ] {
        let expected = (!allowed).then_some(Kind::Forbidden);
        let origin = ("origin", origin);
        let gate = gate(None);
        assert_eq!(verdict(&gate, "POST", "/api/x", &[host, origin]), expected);
        let upgrade = ("upgrade", "websocket");
        assert_eq!(
            verdict(&gate, "GET", "/api/x", &[host, origin, upgrade]),
            expected
        );
        assert_eq!(verdict(&gate, "GET", "/api/x", &[host, origin]), None);
    }
}

#[test]
fn a_token_is_asked_for_where_one_is_set() {
    let gate = gate(Some("t0 ken"));
    let host = ("host", "localhost");
    let check = |uri, more: &[(&'static str, &'static str)]| {
        let headers: Vec<_> = std::iter::once(host).chain(more.iter().copied()).collect();
        verdict(&gate, "GET", uri, &headers).is_none()
    };
    for public in [
        "/",
        "/healthz",
        "/readyz",
        "/app.js",
        "/player.js",
        "/sound.js",
    ] {
        assert!(check(public, &[]), "{public}");
    }
    let upgrade = ("upgrade", "websocket");
    assert!(check("/api/x", &[("authorization", "Bearer t0 ken")]));
    assert!(check("/api/x", &[("authorization", "bearer  t0 ken")]));
    assert!(check("/api/x?a=1&token=t0%20ken", &[upgrade]));
    assert!(!check("/api/x", &[]));
    assert!(!check("/api/x?token=t0%20ken", &[]));
    assert!(!check("/api/x?token=wrong", &[upgrade]));
    assert!(!check("/api/x", &[("authorization", "Bearer wrong")]));
    assert!(!check("/api/x", &[("authorization", "Basic t0 ken")]));
    assert!(!check("/healthz/../api/x", &[]));
    // The page's cookie is for what takes no header, and for that alone: pages of others could have
    // everything else done with it.
    let mut cookie = HeaderMap::new();
    cookie.insert("authorization", HeaderValue::from_static("Bearer t0 ken"));
    let client = crate::limits::Client {
        address: LOCAL,
        forwarded: false,
        secure: false,
    };
    let answer = ui_session::begin(client, &cookie);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    let (cookie, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(
        attributes,
        "Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict"
    );
    let cookie = ("cookie", &*cookie.to_owned().leak());
    assert!(check("/api/x", &[upgrade, cookie]));
    for media in [
        "/api/events",
        "/api/recordings/1/file",
        "/api/recordings/1/thumbnail",
    ] {
        assert!(check(media, &[cookie]), "{media}");
    }
    assert!(!check("/api/recordings/1", &[cookie]));
    assert!(!check("/api/x", &[upgrade, ("cookie", "haven_ui=t0 ken")]));
}
