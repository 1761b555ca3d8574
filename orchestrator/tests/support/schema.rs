//! Values against the schemas of an OpenAPI 3.1 document, as far as ours uses them.

use serde_json::Value;

/// Keywords that say nothing about what is valid.
const SILENT: [&str; 6] = [
    "description",
    "format",
    "title",
    "example",
    "default",
    "propertyNames",
];

/// What is wrong with `value`; nothing, if it is as `schema` says.
pub(crate) fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(document, schema, value, "$", &mut faults);
    faults
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let mut fault = |what: String| faults.push(format!("{at}: {what}: {value}"));
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        match keyword.as_str() {
            "$ref" => {
                let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                let target = document
                    .pointer(pointer)
                    .expect("a reference leads somewhere");
                check(document, target, value, at, faults);
                return;
            }
            "type" => {
                let types = match rule {
                    Value::Array(types) => types.clone(),
                    one => vec![one.clone()],
                };
                if !types.iter().any(|name| is(name.as_str().unwrap(), value)) {
                    fault(format!("is no {rule}"));
                }
            }
            "enum" if !rule.as_array().unwrap().contains(value) => {
                fault(format!("is none of {rule}"))
            }
            "minimum" if value.is_number() && value.as_f64() < rule.as_f64() => {
                fault(format!("is below {rule}"))
            }
            "oneOf" => {
                let fits = |choice: &&Value| self::faults(document, choice, value).is_empty();
                let fitting = rule.as_array().unwrap().iter().filter(fits).count();
                if fitting != 1 {
                    fault(format!("fits {fitting} of its choices"));
                }
            }
            "required" => {
                for name in rule.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() {
                        fault(format!("lacks {name}"));
                    }
                }
            }
            "enum" | "minimum" | "properties" | "items" | "additionalProperties" => {}
            silent if SILENT.contains(&silent) => {}
            unknown => panic!("{at}: this check doesn't know `{unknown}`"),
        }
    }
    children(document, schema, value, at, faults);
}

fn children(document: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        for (index, item) in list.iter().enumerate() {
            check(document, items, item, &format!("{at}[{index}]"), faults);
        }
    }
    let Some(object) = value.as_object() else {
        return;
    };
    for (name, member) in object {
        let at = format!("{at}.{name}");
        let known = schema.get("properties").and_then(|known| known.get(name));
        match known.or(schema.get("additionalProperties")) {
            Some(schema) => check(document, schema, member, &at, faults),
            None if schema.get("properties").is_some() => {
                faults.push(format!("{at}: isn't described: {member}"));
            }
            None => {}
        }
    }
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type of JSON: {other}"),
    }
}
