//! The API's own description: one document, put together from what stands at each handler, the
//! page that shows it, and the methods of each path.

mod library;
mod recordings;
mod sockets;

use super::{
    config, health, live_sessions, metrics, page, pumpfun, reply, ui_session, watch_rules, webhooks,
};
use http::{HeaderValue, header};
use std::sync::LazyLock;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Content, OpenApi as Document, PathItem, Ref, RefOr, ResponseBuilder,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use warp::{Filter, Reply, filters::BoxedFilter, path, reply::Response};

/// Every documented handler; a new one is added here.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Haven",
        description = "Live LiveKit rooms on WebSockets and in files.\n\nEvery failure, whatever \
                       its status, has the same body: `success` false, `error` with one sentence \
                       that a person can act on, `code` for programs, and further fields where a \
                       code has them. Where asking again is worth it, `Retry-After` says after \
                       how many seconds. A body that isn't read in \
                       20 s is 400, one over 64 KiB 413, an unknown path 404, a wrong method 405, \
                       a wrong or missing token 401, a foreign origin 403, a foreign host 421."
    ),
    paths(
        live_sessions::start,
        live_sessions::stop,
        live_sessions::active,
        sockets::stream,
        sockets::live,
        recordings::start,
        recordings::stop,
        recordings::status,
        recordings::active,
        recordings::formats,
        library::list,
        library::one,
        library::delete,
        library::file,
        library::thumbnail,
        library::join,
        library::keep,
        library::events,
        pumpfun::live,
        pumpfun::popular,
        pumpfun::stats,
        pumpfun::stream,
        pumpfun::validate,
        pumpfun::history,
        watch_rules::add,
        watch_rules::list,
        watch_rules::delete,
        webhooks::add,
        webhooks::list,
        webhooks::delete,
        ui_session::begin,
        ui_session::end,
        config::show,
        config::change,
        health::alive,
        health::ready,
        metrics::show,
        show,
    ),
    tags(
        (name = "live sessions", description = "Rooms that are watched and recorded"),
        (name = "recordings", description = "What is kept of them"),
        (name = "discovery", description = "What is live on pump.fun; each path below `/api/pumpfun/` is served below `/api/live/` too"),
        (name = "watching", description = "Rules by which streams are recorded whenever they are live"),
        (name = "configuration", description = "Settings that count for sessions started afterwards"),
        (name = "operations", description = "How the server is"),
    ),
    modifiers(&Token, &TooMany, &Aliases),
    security(("token" = [])),
)]
struct Described;

/// How the API token is given.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("Needed where the server was given an API token."))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// What every request may be answered.
struct TooMany;

impl Modify for TooMany {
    fn modify(&self, document: &mut Document) {
        let problem = Content::new(Some(Ref::from_schema_name("Problem")));
        let refusal = ResponseBuilder::new()
            .description("Too many requests from one address: again after `Retry-After` seconds")
            .content("application/json", problem)
            .build();
        let items = document.paths.paths.values_mut();
        let operations = items.flat_map(|item| {
            [
                &mut item.get,
                &mut item.post,
                &mut item.put,
                &mut item.delete,
            ]
        });
        for operation in operations.flatten() {
            let responses = &mut operation.responses.responses;
            responses.insert("429".to_owned(), RefOr::T(refusal.clone()));
        }
    }
}

/// What older frontends call by other paths.
struct Aliases;

impl Modify for Aliases {
    fn modify(&self, document: &mut Document) {
        let paths = &mut document.paths.paths;
        let mut aliases = Vec::new();
        for (path, item) in paths.iter() {
            if let Some(rest) = path.strip_prefix("/api/pumpfun/") {
                aliases.push((format!("/api/live/{rest}"), alias(item)));
            }
            if path == "/healthz" {
                aliases.push(("/health".to_owned(), alias(item)));
            }
        }
        paths.extend(aliases);
    }
}

fn alias(item: &PathItem) -> PathItem {
    let mut item = item.clone();
    if let Some(operation) = &mut item.get {
        let id = operation.operation_id.take().unwrap_or_default();
        operation.operation_id = Some(format!("{id}_alias"));
    }
    item
}

/// The document; it never changes while the server runs.
static DOCUMENT: LazyLock<Document> = LazyLock::new(Described::openapi);

/// Each path with its methods, for `Allow`.
static METHODS: LazyLock<Vec<(&'static str, String)>> = LazyLock::new(|| {
    let paths = DOCUMENT.paths.paths.iter();
    paths
        .map(|(path, item)| (path.as_str(), methods(item)))
        .collect()
});

fn methods(item: &PathItem) -> String {
    let operations: [(&str, &Option<Operation>); 4] = [
        ("GET, HEAD", &item.get),
        ("POST", &item.post),
        ("PUT", &item.put),
        ("DELETE", &item.delete),
    ];
    let served = operations
        .iter()
        .filter(|(_, operation)| operation.is_some());
    served.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// The methods of a path, as `Allow` lists them; of one that isn't described those of a page.
pub(super) fn allowed_methods(path: &str) -> &'static str {
    let found = METHODS.iter().find(|(template, _)| matches(template, path));
    found.map_or("GET, HEAD", |(_, methods)| methods)
}

/// Whether a path is one of a template, in which `{name}` stands for any segment.
fn matches(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if wanted.starts_with('{') || wanted == given => {}
            _ => return false,
        }
    }
}

pub(super) fn routes() -> BoxedFilter<(Response,)> {
    let document = path!("api" / "openapi.json").and(warp::get()).map(show);
    let html = path!("api" / "docs")
        .and(warp::get())
        .map(|| page::file("text/html; charset=utf-8", include_str!("page/docs.html")));
    let script = path!("api" / "docs.js").and(warp::get()).map(|| {
        page::file(
            "text/javascript; charset=utf-8",
            include_str!("page/docs.js"),
        )
    });
    document.or(html).unify().or(script).unify().boxed()
}

/// This document.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "operations", operation_id = "openapi_document",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(super) fn show() -> Response {
    let mut response = warp::reply::json(&*DOCUMENT).into_response();
    let revalidate = HeaderValue::from_static("no-cache");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, revalidate);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn paths_match_their_templates() {
        assert_eq!(allowed_methods("/api/config"), "GET, HEAD, PUT");
        assert_eq!(allowed_methods("/api/live-sessions/start"), "POST");
        assert_eq!(allowed_methods("/api/live/stream/a%2Fb"), "GET, HEAD");
        assert_eq!(allowed_methods("/api/recording/stop/more"), "GET, HEAD");
        assert!(!matches("/a/{b}", "/a") && !matches("/a/{b}", "/a/b/c"));
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_a_summary() {
        let mut names = BTreeSet::new();
        for (path, item) in &DOCUMENT.paths.paths {
            for operation in [&item.get, &item.post, &item.put, &item.delete] {
                let Some(operation) = operation else { continue };
                let id = operation.operation_id.clone().unwrap_or_default();
                assert!(names.insert(id.clone()), "{path}: {id}");
                assert!(operation.summary.is_some(), "{path}");
            }
        }
        assert!(
            DOCUMENT
                .paths
                .paths
                .contains_key("/api/live/validate/{mint_id}")
        );
    }
}
