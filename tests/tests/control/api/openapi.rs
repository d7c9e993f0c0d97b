//! The OpenAPI document: it is the one that is committed, it is whole, and no route stands outside of it.

use std::collections::BTreeSet;
use std::path::Path;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use lb_userspace::api::openapi::DOCUMENT;
use serde_json::Value;

use super::Api;

/// Set by `cargo xtask openapi`: the document is written instead of compared.
const WRITE: &str = "SNOWSHED_WRITE_OPENAPI";

fn document() -> Value {
    serde_json::from_str(&DOCUMENT).unwrap()
}

/// Every operation: path, method and what is said of it.
fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, item)| item.as_object().unwrap().iter().map(|(method, one)| (&**path, &**method, one)))
}

#[test]
fn the_committed_document_is_the_one_that_the_code_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &*DOCUMENT).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let first = committed.lines().zip(DOCUMENT.lines()).position(|(committed, made)| committed != made);
    assert!(
        committed == *DOCUMENT,
        "docs/openapi.json is not what the code makes, from line {} on: write it anew with `cargo xtask openapi`, look at \
         the difference and commit it",
        first.unwrap_or(0) + 1
    );
}

#[test]
fn no_route_can_stand_outside_of_the_document() {
    let source = include_str!("../../../../lb-userspace/src/api/router.rs");
    let bare: Vec<&str> = source.lines().filter(|line| line.contains(".route(")).collect();
    assert!(
        bare.is_empty(),
        "register these with `.routes(routes!(handler))` and `#[utoipa::path]` beside the handler, as the comment of \
         `guarded` in router.rs says: {bare:#?}"
    );
}

#[test]
fn the_document_is_whole() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let shown = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{shown}: two operations have its id");
        assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 5), "{shown} has no doc comment");
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.keys().any(|status| status.starts_with('2')), "{shown} has no answer");
        let parameters = operation["parameters"].as_array().unwrap();
        let named: BTreeSet<_> = parameters.iter().map(|one| (one["in"].as_str(), one["name"].as_str())).collect();
        assert_eq!(named.len(), parameters.len(), "{shown} has a parameter twice");
        for placeholder in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            assert!(named.contains(&(Some("path"), Some(placeholder))), "{shown} does not describe {placeholder}");
        }
    }
    assert!(ids.len() > 60, "only {} operations", ids.len());
    let mut pointers = Vec::new();
    references(&document, &mut pointers);
    assert!(pointers.len() > 100);
    for pointer in pointers {
        let target = pointer.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        assert!(target.is_some(), "{pointer} is referred to and not there");
    }
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(pointer) if key == "$ref" => found.push(pointer.to_owned()),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_served_to_everybody() {
    let api = Api::new();
    let (status, served) = api.send(Request::get("/openapi.json").body(Body::empty()).unwrap()).await;
    assert_eq!((status, served), (StatusCode::OK, document()));
}
