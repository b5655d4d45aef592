//! Holds documents against `docs/bootcfg.schema.json`: as much of JSON Schema as that file uses.

use serde_json::Value;
use std::sync::LazyLock;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bootcfg.schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("readable")).expect("JSON")
});

/// Checks that the document is of the form, and its result of that of its command.
pub(crate) fn check(document: &Value) {
    holds(&SCHEMA, document, "the document");
    if let (Some(command), true) = (document["command"].as_str(), document["error"].is_null()) {
        let result = &SCHEMA["$defs"]["results"][command];
        assert!(result.is_object(), "the schema has no result of {command}");
        holds(result, &document["result"], &format!("the result of {command}"));
    }
}

fn holds(schema: &Value, value: &Value, what: &str) {
    for (keyword, rule) in schema.as_object().expect("a schema") {
        match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" => {}
            "$ref" => {
                let path = rule.as_str().expect("a path").strip_prefix('#').expect("in this file");
                holds(SCHEMA.pointer(path).expect("there"), value, what);
            }
            "type" => {
                let words = match rule {
                    Value::Array(words) => words.clone(),
                    word => vec![word.clone()],
                };
                let is = |word: &Value| match word.as_str().expect("a word") {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("the type {other} is not known here"),
                };
                assert!(words.iter().any(is), "{what}: {value} is no {rule}");
            }
            "enum" => {
                assert!(rule.as_array().expect("a list").contains(value), "{what}: {value} is none of {rule}")
            }
            "const" => assert_eq!(value, rule, "{what}"),
            "minimum" => assert!(
                value.as_i64().is_none_or(|n| n >= rule.as_i64().expect("a number")),
                "{what}: {value}"
            ),
            "required" if value.is_null() => {}
            "required" => {
                for name in rule.as_array().expect("a list") {
                    let name = name.as_str().expect("a name");
                    assert!(value.get(name).is_some(), "{what} has no {name}: {value}");
                }
            }
            "properties" => {
                for (name, rule) in rule.as_object().expect("properties") {
                    if let Some(value) = value.get(name) {
                        holds(rule, value, &format!("{name} of {what}"));
                    }
                }
            }
            "additionalProperties" => {
                let known = &schema["properties"];
                for (name, value) in value.as_object().into_iter().flatten() {
                    if known.get(name).is_some() {
                        continue;
                    }
                    assert!(rule != &Value::Bool(false), "{what} has {name}, which the schema has not");
                    if rule.is_object() {
                        holds(rule, value, &format!("{name} of {what}"));
                    }
                }
            }
            "items" => {
                for value in value.as_array().into_iter().flatten() {
                    holds(rule, value, &format!("an item of {what}"));
                }
            }
            other => panic!("the keyword {other} is not known here"),
        }
    }
}
