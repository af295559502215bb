"use strict";
for (const form of document.querySelectorAll("form")) {
  const answer = form.querySelector("output");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const key = document.getElementById("key").value;
    const headers = { "content-type": "application/json" };
    if (key) headers.authorization = "Bearer " + key;
    answer.textContent = "Waiting for the answer ...";
    try {
      const body = form.querySelector("textarea").value;
      const response = await fetch(form.action, { method: "POST", headers, body });
      const said = await response.text();
      let shown = said;
      try { shown = JSON.stringify(JSON.parse(said), null, 2); } catch { /* shown as it is */ }
      const verdict = response.ok ? "The answer:" : "It was not answered (" + response.status + "):";
      answer.textContent = verdict + "\n" + shown;
    } catch (error) {
      answer.textContent = "The server cannot be reached: " + error.message;
    }
  });
}
