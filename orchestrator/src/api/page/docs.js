// Shows the server's OpenAPI document. Everything is set as text, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

// A schema in a few words; what it refers to is linked.
function described(schema) {
  if (!schema) return element("span", "");
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    const link = element("a", name);
    link.href = `#schema-${name}`;
    return link;
  }
  const choices = schema.oneOf || schema.anyOf || schema.allOf;
  if (choices) {
    const words = element("span");
    choices.forEach((choice, index) => words.append(index ? " or " : "", described(choice)));
    return words;
  }
  if (schema.enum) return element("code", schema.enum.map((value) => JSON.stringify(value)).join(" | "));
  if (schema.items) return element("span", "list of ", described(schema.items));
  if (schema.additionalProperties) {
    return element("span", "map to ", described(schema.additionalProperties));
  }
  return element("code", [].concat(schema.type || "any").join(" or "));
}

function table(rows) {
  const body = element("table");
  for (const cells of rows) {
    const row = element("tr");
    for (const cell of cells) row.append(cell instanceof Node ? element("td", "", cell) : element("td", cell));
    body.append(row);
  }
  return body;
}

function operation(method, path, item) {
  const section = element("section", "", element("h3", `${method.toUpperCase()} ${path}`));
  section.append(element("p", [item.summary, item.description].filter(Boolean).join(" ")));
  const rows = (item.parameters || []).map((parameter) =>
    [`${parameter.name} (${parameter.in})`, described(parameter.schema), parameter.description || ""]);
  const body = item.requestBody && Object.values(item.requestBody.content || {})[0];
  if (body) rows.push(["body", described(body.schema), item.requestBody.description || ""]);
  for (const [status, response] of Object.entries(item.responses || {})) {
    const content = Object.values(response.content || {})[0];
    rows.push([status, described(content && content.schema), response.description]);
  }
  section.append(table(rows));
  return section;
}

function schema(name, shape) {
  const section = element("section", "", element("h3", name));
  section.id = `schema-${name}`;
  if (shape.description) section.append(element("p", shape.description));
  const required = new Set(shape.required || []);
  const fields = Object.entries(shape.properties || {});
  if (fields.length === 0) section.append(element("p", "", described(shape)));
  section.append(table(fields.map(([field, value]) =>
    [field + (required.has(field) ? "" : " (may be absent)"), described(value), value.description || ""])));
  return section;
}

function show(api) {
  const page = $("document");
  page.replaceChildren();
  page.append(element("p", `${api.info.title} ${api.info.version}`));
  for (const paragraph of (api.info.description || "").split("\n\n")) page.append(element("p", paragraph));
  for (const tag of api.tags || []) {
    page.append(element("h2", tag.name), element("p", tag.description));
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, item] of Object.entries(methods)) {
        if ((item.tags || []).includes(tag.name)) page.append(operation(method, path, item));
      }
    }
  }
  page.append(element("h2", "Shapes"));
  for (const [name, shape] of Object.entries(api.components.schemas || {})) page.append(schema(name, shape));
}

async function load() {
  const headers = $("token").value ? { Authorization: `Bearer ${$("token").value}` } : {};
  try {
    const response = await fetch("/api/openapi.json", { headers });
    $("token-label").hidden = response.status !== 401;
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    show(answer);
    $("status").textContent = "";
  } catch (error) {
    $("status").textContent = error.message;
  }
}

$("load").addEventListener("click", load);
load();
