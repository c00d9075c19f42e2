//! The description says what `routes` parses, no more and no less.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    page::Asset,
    routes::{LONGEST, Route},
};
use crate::net::{Dialect, Group};

const NAME: &str = "some-name";
const VERSION: &str = "1";

/// Words that `routes` compares segments with.
fn words() -> BTreeSet<&'static str> {
    let source = include_str!("routes.rs").split("#[cfg(test)]").next().unwrap();
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let words = code.flat_map(|line| line.split('"').skip(1).step_by(2));
    words.filter(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase())).collect()
}

/// The paths of every kind of route, each where the description has it: all paths under `/v2` of these words, a name and
/// a version. Those of four and five segments are tried where one of the first four is a name; there would be millions.
fn parsed() -> BTreeMap<String, (bool, bool)> {
    let mut found = BTreeMap::new();
    let mut add = |path: &str| {
        if let Some(route) = Route::parse(path) {
            found.insert(route.pattern().to_owned(), route.methods());
        }
    };
    Asset::paths().for_each(&mut add);
    add("/v2");
    let words: Vec<&str> = words().into_iter().chain([NAME, VERSION]).collect();
    let mut paths = vec!["/v2".to_owned()];
    for length in 1..=LONGEST {
        let longer = paths.iter().flat_map(|path| words.iter().map(move |word| format!("{path}/{word}")));
        paths = longer.filter(|path| length < 4 || path.contains(NAME)).collect();
        paths.iter().for_each(|path| add(path));
    }
    found
}

fn description() -> Value {
    serde_json::from_str(include_str!("openapi.json")).unwrap()
}

/// Paths of the description, and whether they can be read and posted to.
fn written(description: &Value) -> BTreeMap<String, (bool, bool)> {
    let paths = description["paths"].as_object().unwrap();
    let one = |(path, item): (&String, &Value)| {
        let operations: Vec<&str> =
            item.as_object().unwrap().keys().map(String::as_str).filter(|k| *k != "parameters").collect();
        assert!(operations.iter().all(|o| ["get", "post"].contains(o)), "{path}: {operations:?}");
        (path.clone(), (operations.contains(&"get"), operations.contains(&"post")))
    };
    paths.iter().map(one).collect()
}

/// A path of the description with names in the places of its parameters.
fn example(path: &str) -> String {
    path.replace("{version}", VERSION)
        .replace("{file}", "main.js")
        .split('/')
        .map(|segment| if segment.starts_with('{') { NAME } else { segment })
        .collect::<Vec<_>>()
        .join("/")
}

#[test]
fn words_are_read_off_the_source() {
    for word in ["health", "stats", "versions", "region", "unregister", "infer", "hypersonic"] {
        assert!(words().contains(word), "{word}");
    }
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    assert_eq!(written(&description()), parsed());
}

#[test]
fn every_path_is_described_as_what_it_is() {
    let description = description();
    for (path, item) in description["paths"].as_object().unwrap() {
        let example = example(path);
        let route = Route::parse(&example).unwrap_or_else(|| panic!("no route: {path}"));
        assert_eq!(route.pattern(), *path);
        let parameters: Vec<&str> = path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')))
            .collect();
        let said: Vec<&str> = item["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|p| p["$ref"].as_str().unwrap().strip_prefix("#/components/parameters/").unwrap())
            .collect();
        assert_eq!(said, parameters, "{path}");
        let group = Group::of(Dialect::Http, &example).map_or("page", Group::name);
        for (method, operation) in item.as_object().unwrap().iter().filter(|(k, _)| *k != "parameters") {
            assert_eq!(operation["tags"], serde_json::json!([group]), "{method} {path}");
            let open = ["health", "page"].contains(&group);
            assert_eq!(operation["security"] == serde_json::json!([]), open, "{method} {path}");
            assert_eq!(operation["responses"].get("401").is_none(), open, "{method} {path}");
        }
    }
}

#[test]
fn the_version_is_this_one() {
    let description = description();
    assert_eq!(description["openapi"], "3.1.0");
    assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn datatypes_are_those_of_the_server() {
    let known: Vec<&str> = hs_runtime::Datatype::ALL.iter().map(|d| d.name()).collect();
    assert_eq!(description()["components"]["schemas"]["Datatype"]["enum"], serde_json::json!(known));
}

#[test]
fn operations_have_names_of_their_own_and_references_lead_somewhere() {
    fn walk<'a>(value: &'a Value, references: &mut Vec<&'a str>, names: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                references.extend(fields.get("$ref").and_then(Value::as_str));
                names.extend(fields.get("operationId").and_then(Value::as_str));
                fields.values().for_each(|v| walk(v, references, names));
            }
            Value::Array(items) => items.iter().for_each(|v| walk(v, references, names)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let description = description();
    let (mut references, mut names) = (Vec::new(), Vec::new());
    walk(&description, &mut references, &mut names);
    for reference in &references {
        assert!(description.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
    }
    // What nothing leads to says nothing.
    for kind in ["parameters", "responses", "schemas"] {
        for name in description["components"][kind].as_object().unwrap().keys() {
            assert!(references.contains(&&*format!("#/components/{kind}/{name}")), "{kind}/{name}");
        }
    }
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(distinct.len(), names.len());
}
