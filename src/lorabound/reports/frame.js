"use strict";
const specs = {{ specs | tojson }};
const atNight = {{ dark_colours | tojson }};
const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const made = (tag, facts = {}, ...inside) => { const element = Object.assign(document.createElement(tag), facts); element.append(...inside); return element; };
const words = node => (node.nodeType === Node.TEXT_NODE ? node.data : [...node.childNodes].map(words).join(" ")).replace(/\s+/g, " ").trim();

// Files are named after the page: "lorabound: words" and "cells.csv" make lorabound-words-cells.csv.
const fileName = end => document.title.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 80) + "-" + end;
function save(name, href) { made("a", {download: fileName(name), href}).click(); }
function saveText(name, type, text) {
  const href = URL.createObjectURL(new Blob([text], {type}));
  save(name, href);
  setTimeout(() => URL.revokeObjectURL(href), 10000);
}

// Charts, in the colours of the page.
const drawings = new Map();
function themed(spec) {
  const words = {labelColor: colour("--dim"), titleColor: colour("--ink"), labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500};
  const config = {background: colour("--ground"), font: colour("--font"), view: {stroke: null}, title: {color: colour("--ink")}, legend: {...words, layout: {top: {direction: "vertical", anchor: "start"}}},
    header: {...words, labelFontWeight: 600, labelColor: colour("--ink"), labelAnchor: "start"},
    axis: {...words, gridColor: colour("--line"), domainColor: colour("--dim"), tickColor: colour("--dim"), titlePadding: 10},
    text: {color: colour("--ink"), fontSize: 12}, rule: {color: colour("--dim")}, point: {color: colour("--dim")},
    style: {ground: {color: colour("--ground"), stroke: colour("--ground"), strokeWidth: 4, strokeJoin: "round"}}};
  let text = JSON.stringify({...spec, config: {...spec.config, ...config}});
  if (dark.matches) text = text.replaceAll('"extent":[0.1,0.85]', '"extent":[0.35,1]');
  if (dark.matches) for (const [day, night] of Object.entries(atNight)) text = text.replaceAll(day, night);
  return JSON.parse(text);
}
async function draw(place, spec) {
  const drawing = await vegaEmbed("#" + place, themed(spec), {renderer: "svg", tooltip: {theme: dark.matches ? "dark" : "light"}, actions: false});
  drawings.get(place)?.finalize();
  drawings.set(place, drawing);
  if (!performance.getEntriesByName("first chart").length) performance.mark("first chart");
}
function pictures(place) {
  const button = kind => {
    const made_ = made("button", {type: "button", className: "save", textContent: "Save " + kind.toUpperCase()});
    made_.dataset.kind = kind;
    made_.addEventListener("click", async () => save(place.replace(/^chart-/, "") + "." + kind, await drawings.get(place).view.toImageURL(kind, 2)));
    return made_;
  };
  document.getElementById(place).after(made("div", {className: "tools saving"}, button("svg"), button("png")));
}
const redraw = [() => Object.entries(specs).forEach(([place, spec]) => draw(place, spec).catch(console.error))];
Object.keys(specs).forEach(pictures);
redraw[0]();
dark.addEventListener("change", () => redraw.forEach(again => again()));
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(part => { part.open = true; }));

// Tables: search, choice of columns, sorting, and a file of the numbers as they were before rounding.
const number = text => { const found = text.replace(/,/g, "").match(/^[^0-9a-z-]*(-?[0-9.]+(e-?[0-9]+)?)/i); return found ? Number(found[1]) : NaN; };
const rawNames = head => head.dataset.csv ? head.dataset.csv.split(" ") : [words(head)];
const rawValues = cell => cell.dataset.raw === undefined ? [words(cell)] : cell.dataset.raw.split(" ");
function tools(table, place) {
  const heads = [...table.tHead.rows[0].cells], rows = [...table.tBodies[0].rows], names = heads.map(words), shown = heads.map(() => true);
  const search = made("input", {type: "search", placeholder: "Search rows", ariaLabel: "Search the rows of this table"});
  const said = made("span", {role: "status"});
  const filter = () => {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) { const text = row.textContent.toLowerCase(); row.hidden = !wanted.every(word => text.includes(word)); }
    const left = rows.filter(row => !row.hidden).length;
    said.textContent = left === rows.length ? "" : left + " of " + rows.length + " rows";
  };
  search.addEventListener("input", filter);
  const choice = names.map((name, column) => {
    const box = made("input", {type: "checkbox", checked: true, disabled: column === 0});
    box.addEventListener("change", () => {
      shown[column] = box.checked;
      for (const row of [table.tHead.rows[0], ...rows]) row.cells[column].hidden = !box.checked;
    });
    return made("label", {}, box, " " + name);
  });
  const columns = made("details", {}, made("summary", {textContent: "Columns"}), made("fieldset", {ariaLabel: "Columns to show"}, ...choice));
  const button = made("button", {type: "button", className: "csv", textContent: "Download CSV"});
  button.addEventListener("click", () => {
    const quoted = text => /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
    const line = (row, values) => [...row.cells].filter((_, column) => shown[column]).flatMap(values).map(quoted).join(",");
    const lines = [line(table.tHead.rows[0], rawNames), ...[...table.tBodies[0].rows].filter(row => !row.hidden).map(row => line(row, rawValues))];
    saveText((table.dataset.name || "table" + (place ? place + 1 : "")) + ".csv", "text/csv", lines.join("\r\n") + "\r\n");
  });
  table.closest(".scroll").before(made("div", {className: "tools"}, search, columns, button, said));
}
document.querySelectorAll("table.sortable").forEach(tools);
for (const head of document.querySelectorAll("table.sortable th")) head.querySelector("button").addEventListener("click", () => {
  const row = head.parentElement, body = head.closest("table").tBodies[0], up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of row.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const text = line => { const cell = line.cells[head.cellIndex]; return cell.dataset.raw === undefined ? words(cell) : cell.dataset.raw.split(" ")[0]; };
  const order = (a, b) => { const x = number(text(a)), y = number(text(b)); return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) || text(a).localeCompare(text(b)) : x - y; };
  body.append(...[...body.rows].sort((a, b) => up ? order(a, b) : order(b, a)));
});

// Code to copy.
for (const button of document.querySelectorAll(".copy")) button.addEventListener("click", async () => {
  const code = button.parentElement.querySelector("code");
  try { await navigator.clipboard.writeText(code.textContent); } catch {
    getSelection().selectAllChildren(code);
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
});

// Terms: their meaning beside them on hover, focus and tap; Escape closes it.
const tip = document.getElementById("tip");
function explain(term) {
  const meaning = document.getElementById(term.getAttribute("aria-describedby"));
  if (!meaning) return;
  tip.textContent = meaning.textContent;
  tip.hidden = false;
  const at = term.getBoundingClientRect(), own = tip.getBoundingClientRect(), room = document.documentElement.clientWidth - own.width - 8;
  tip.style.left = Math.max(8, Math.min(at.left, room)) + "px";
  tip.style.top = (at.top > own.height + 12 ? at.top - own.height - 6 : at.bottom + 6) + "px";
}
const hush = () => { tip.hidden = true; };
for (const term of document.querySelectorAll("[aria-describedby^='word-']")) {
  term.addEventListener("pointerenter", event => { if (event.pointerType === "mouse") explain(term); });
  term.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") hush(); });
  term.addEventListener("focus", () => explain(term));
  term.addEventListener("blur", hush);
  if (term.matches("a")) term.addEventListener("click", event => { event.preventDefault(); explain(term); });
}
addEventListener("keydown", event => { if (event.key === "Escape") hush(); });
addEventListener("scroll", hush, {passive: true});
