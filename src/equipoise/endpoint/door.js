"use strict";
const form = document.querySelector("form"), said = form.querySelector("output");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const key = document.getElementById("key").value;
  try {
    const response = await fetch(location.href, { headers: { authorization: "Bearer " + key } });
    if (!response.ok) {
      said.textContent = response.status === 401 ? "This key is not known here." : "Not now (" + response.status + ").";
      return;
    }
    const page = await response.text();
    document.open();
    document.write(page);
    document.close();
    document.getElementById("key").value = key;
  } catch (error) {
    said.textContent = "No answer came: " + error.message;
  }
});
