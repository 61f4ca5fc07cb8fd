//! `/docs`: the document as a page that needs nothing but itself.

use std::fmt::{self, Write as _};

use axum::response::Response;
use serde_json::Value;

use super::Problem;
use super::document::document;
use super::page::{Escaped, html};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem;\
color:#1c2128;background:#fff}h1{font-size:1.5rem}h2{margin-top:2.5rem;border-bottom:1px solid #d8dee4}\
h3{font:600 15px ui-monospace,monospace;margin:1.6rem 0 .2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.25rem .8rem .25rem 0;border-bottom:1px solid #d8dee4}\
code{font:13px ui-monospace,monospace}small{color:#57606a}nav a{margin-right:1rem}\
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#d1d7e0}h2,th,td{border-color:#30363d}\
a{color:#58a6ff}small{color:#8b949e}}";

pub async fn show() -> Result<Response, Problem> {
    let page = render(document());
    page.map(html)
        .map_err(|_| Problem::internal("the page cannot be written"))
}

fn text(value: &Value) -> Escaped<'_> {
    Escaped(value.as_str().unwrap_or_default())
}

fn render(document: &Value) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let info = &document["info"];
    write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Evenkeel API</title>\
         <style>{STYLE}</style></head><body><h1>Evenkeel {}</h1><p>{}</p>\
         <p>For programs: <a href=\"openapi.json\">openapi.json</a></p>",
        text(&info["version"]),
        text(&info["description"]),
    )?;
    let operations: Vec<(&String, &String, &Value)> = objects(&document["paths"])
        .flat_map(|(path, methods)| objects(methods).map(move |(m, o)| (path, m, o)))
        .collect();
    let mut tags: Vec<&str> = Vec::new();
    for (_, _, operation) in &operations {
        let tag = operation["tags"][0].as_str().unwrap_or_default();
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    out.push_str("<nav>");
    for tag in tags.iter().chain(&["schemas"]) {
        write!(out, "<a href=\"#{0}\">{0}</a>", Escaped(tag))?;
    }
    out.push_str("</nav>");
    for tag in &tags {
        write!(out, "<h2 id=\"{0}\">{0}</h2>", Escaped(tag))?;
        for (path, method, told) in &operations {
            if told["tags"][0] == *tag {
                operation(&mut out, method, path, told)?;
            }
        }
    }
    out.push_str("<h2 id=\"schemas\">schemas</h2>");
    for (name, schema) in objects(&document["components"]["schemas"]) {
        write!(
            out,
            "<h3 id=\"schema-{0}\">{0}</h3><p>{1}</p>",
            Escaped(name),
            text(&schema["description"])
        )?;
        fields(&mut out, schema)?;
    }
    out.push_str("</body></html>");
    Ok(out)
}

fn objects(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn operation(out: &mut String, method: &str, path: &str, told: &Value) -> fmt::Result {
    write!(
        out,
        "<h3 id=\"{}\">{} {}</h3><p>{}. <small>{}</small></p>",
        text(&told["operationId"]),
        method.to_ascii_uppercase(),
        Escaped(path),
        text(&told["summary"]),
        text(&told["description"]),
    )?;
    let parameters = told["parameters"].as_array().into_iter().flatten();
    let rows: Vec<&Value> = parameters.filter(|p| p["in"] == "query").collect();
    if !rows.is_empty() {
        out.push_str("<table><tr><th>Query</th><th>Type</th><th></th></tr>");
        for row in rows {
            write!(out, "<tr><td><code>{}</code></td><td>", text(&row["name"]))?;
            kind(out, &row["schema"])?;
            write!(out, "</td><td>{}</td></tr>", text(&row["description"]))?;
        }
        out.push_str("</table>");
    }
    for (_, content) in objects(&told["requestBody"]["content"]) {
        out.push_str("<p>Takes:</p>");
        fields(out, &content["schema"])?;
    }
    for (code, response) in objects(&told["responses"]).filter(|(code, _)| *code != "default") {
        write!(out, "<p>Answers {} ", Escaped(code))?;
        for (media_type, content) in objects(&response["content"]) {
            write!(out, "<code>{}</code> ", Escaped(media_type))?;
            kind(out, &content["schema"])?;
        }
        let when = response["description"].as_str().filter(|w| *w != "Done");
        write!(out, " {}</p>", Escaped(when.unwrap_or_default()))?;
    }
    Ok(())
}

/// A table of an object's properties, or of what it may be instead.
fn fields(out: &mut String, schema: &Value) -> fmt::Result {
    if schema["properties"].is_object() {
        out.push_str("<table><tr><th>Field</th><th>Type</th><th></th></tr>");
        for (name, property) in objects(&schema["properties"]) {
            write!(out, "<tr><td><code>{}</code></td><td>", Escaped(name))?;
            kind(out, property)?;
            write!(out, "</td><td>{}</td></tr>", text(&property["description"]))?;
        }
        out.push_str("</table>");
        return Ok(());
    }
    let choices = ["oneOf", "anyOf"]
        .iter()
        .find_map(|key| schema[*key].as_array());
    match choices {
        Some(choices) if choices.iter().any(|c| c["properties"].is_object()) => {
            out.push_str("<p>One of:</p>");
            choices.iter().try_for_each(|choice| fields(out, choice))
        }
        Some(_) | None => {
            out.push_str("<p>");
            kind(out, schema)?;
            out.push_str("</p>");
            Ok(())
        }
    }
}

/// A schema in a few words, with links to the shared ones.
fn kind(out: &mut String, schema: &Value) -> fmt::Result {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = Escaped(reference.rsplit('/').next().unwrap_or_default());
        return write!(out, "<a href=\"#schema-{name}\">{name}</a>");
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[key].as_array() {
            for (n, choice) in choices.iter().enumerate() {
                out.push_str(if n > 0 { " | " } else { "" });
                kind(out, choice)?;
            }
            return Ok(());
        }
    }
    if !schema["const"].is_null() {
        return write!(
            out,
            "<code>{}</code>",
            Escaped(&schema["const"].to_string())
        );
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().map(Value::to_string).collect();
        return write!(out, "<code>{}</code>", Escaped(&words.join(" | ")));
    }
    if schema["items"].is_object() {
        out.push_str("list of ");
        return kind(out, &schema["items"]);
    }
    if schema["additionalProperties"].is_object() {
        out.push_str("map to ");
        return kind(out, &schema["additionalProperties"]);
    }
    if let Some((_, value)) = objects(&schema["patternProperties"]).next() {
        out.push_str("map to ");
        return kind(out, value);
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        Value::String(one) => vec![one.as_str()],
        _ => vec!["any"],
    };
    write!(out, "{}", Escaped(&types.join(" | ")))?;
    match schema["format"].as_str() {
        Some(format) => write!(out, " ({})", Escaped(format)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_every_operation_and_fetches_nothing() {
        let page = render(document()).unwrap_or_default();
        for (path, methods) in objects(&document()["paths"]) {
            for (method, _) in objects(methods) {
                let head = format!(">{} {path}</h3>", method.to_ascii_uppercase());
                assert!(page.contains(&head), "{head}");
            }
        }
        for outside in [
            "<script",
            "<link",
            " src=",
            "href=\"http",
            "url(",
            "@import",
        ] {
            assert!(!page.contains(outside), "{outside}");
        }
        // Every link leads somewhere on the page.
        for target in page.split("href=\"#").skip(1) {
            let id = target.split('"').next().unwrap_or_default();
            assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
        }
    }
}
