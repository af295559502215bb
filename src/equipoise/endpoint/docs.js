"use strict";
const key = document.getElementById("key");

function rowsOf(form) {
  const text = form.querySelector("textarea");
  if (text) return text.value;
  const row = {};
  for (const input of form.querySelectorAll("input")) {
    const empty = input.value === "";
    if (input.type === "checkbox") row[input.name] = input.checked;
    else row[input.name] = empty ? null : input.type === "number" ? Number(input.value) : input.value;
  }
  return JSON.stringify([row]);
}

function element(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
}

function shown(value) {
  if (value === null) return "none";
  return typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(4))) : String(value);
}

function tableOf(predictions) {
  const table = element("table"), head = table.insertRow(), names = Object.keys(predictions[0]);
  for (const name of names) head.append(element("th", name));
  for (const answer of predictions) {
    const row = table.insertRow();
    for (const name of names) row.append(element("td", shown(answer[name])));
  }
  return table;
}

async function ask(form, answer) {
  const image = form.querySelector("input[type=file]");
  const headers = { "content-type": image ? image.files[0].type : "application/json" };
  if (key.value) headers.authorization = "Bearer " + key.value;
  const body = image ? image.files[0] : rowsOf(form);
  const response = await fetch(form.action, { method: "POST", headers, body });
  const said = await response.json();
  if (response.ok) answer.replaceChildren(tableOf(said.predictions));
  else answer.replaceChildren(element("p", "It was not answered (" + response.status + "): " + said.error));
}

for (const form of document.querySelectorAll("form")) {
  const answer = form.querySelector("output");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    answer.replaceChildren(element("p", "Waiting for the answer ..."));
    try {
      await ask(form, answer);
    } catch (error) {
      answer.replaceChildren(element("p", "No answer came: " + error.message));
    }
  });
}
