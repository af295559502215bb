"use strict";
// Pictures: drawn in the page's own colours, again when it turns dark or light, and in light for paper.
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const plots = [...document.querySelectorAll(".plot[data-figure]")];
  const colours = (isDark) => isDark
    ? { ink: "#e9edf2", line: "#2d3743", card: "#18202a" }
    : { ink: "#17202c", line: "#dde1e7", card: "#ffffff" };

  function themed(layout, { ink, line, card }, width) {
    const axis = (own) => ({ gridcolor: line, linecolor: line, zerolinecolor: line, ...own });
    return {
      ...layout,
      ...(width ? { width, height: Math.min(layout.height, 330) } : {}),
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink, size: 13, family: "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif" },
      hoverlabel: { bgcolor: card, bordercolor: line, font: { color: ink }, align: "left" },
      ...Object.fromEntries(Object.keys(layout).filter((key) => /^[xy]axis/.test(key)).map((key) => [key, axis(layout[key])])),
      annotations: layout.annotations.map((note) => ({ ...note, bgcolor: card, borderpad: 2 })),
    };
  }

  function draw(isDark, width) {
    for (const plot of plots) {
      const figure = JSON.parse(document.getElementById("data-" + plot.dataset.figure).textContent);
      Plotly.react(plot, figure.data, themed(figure.layout, colours(isDark), width), { displayModeBar: false, responsive: true });
    }
  }

  draw(dark.matches);
  dark.addEventListener("change", () => draw(dark.matches));
  window.addEventListener("beforeprint", () => draw(false, 680));
  window.addEventListener("afterprint", () => draw(dark.matches));
})();

// The table of candidates: sorted by its headings, narrowed by what is typed or picked.
(() => {
  const table = document.getElementById("candidates");
  if (!table) return;
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const find = document.getElementById("find");
  const status = document.getElementById("status");
  const value = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? (cell.dataset.value === "" ? null : Number(cell.dataset.value)) : cell.textContent;
  };

  headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
    const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    headings.forEach((other) => other.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    const rows = [...body.rows].sort((left, right) => {
      const [a, b] = [value(left, column), value(right, column)];
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (typeof a === "number" ? a - b : a.localeCompare(b));
    });
    body.append(...rows);
  }));

  function narrow() {
    const wanted = find.value.trim().toLowerCase();
    let shown = 0;
    for (const row of body.rows) {
      row.hidden = (status.value !== "" && row.dataset.status !== status.value) || !row.textContent.toLowerCase().includes(wanted);
      shown += row.hidden ? 0 : 1;
    }
    document.getElementById("count").textContent = `${shown} of ${body.rows.length} candidates`;
  }
  find.addEventListener("input", narrow);
  status.addEventListener("change", narrow);
  find.form.addEventListener("submit", (event) => event.preventDefault());
})();
