"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const { runs, scale } = data;
  const PAGE = 150;
  const SHAPES = [
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z", "M-4.5-4.5h9v9h-9z", "M0-6.2L6.2 0L0 6.2L-6.2 0z",
    "M0-5.8L5.6 4.4H-5.6z", "M0 5.8L5.6-4.4H-5.6z",
    "M-5.2-2.6L-2.6-5.2L0-2.6L2.6-5.2L5.2-2.6L2.6 0L5.2 2.6L2.6 5.2L0 2.6L-2.6 5.2L-5.2 2.6L-2.6 0z",
  ];

  // ---- theme: as the system, light, dark ----
  const THEMES = [["", "◐", "as the system"], ["light", "☀", "light"], ["dark", "☾", "dark"]];
  let theme = 0;
  const showTheme = () => {
    const [name, sign, words] = THEMES[theme];
    if (name) document.documentElement.dataset.theme = name; else delete document.documentElement.dataset.theme;
    $("theme").textContent = sign;
    $("theme").setAttribute("aria-label", `Colour theme: ${words}`);
    $("theme").title = `Colour theme: ${words}`;
  };
  try { theme = Math.max(0, THEMES.findIndex(([name]) => name === localStorage.getItem("equiloss-theme"))); } catch { /* no storage */ }
  showTheme();
  $("theme").addEventListener("click", () => {
    theme = (theme + 1) % THEMES.length;
    try { localStorage.setItem("equiloss-theme", THEMES[theme][0]); } catch { /* no storage */ }
    showTheme();
  });

  // ---- small makers: text goes in as text nodes only ----
  const make = (tag, css, text) => {
    const node = document.createElement(tag);
    if (css) node.className = css;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const swatch = (index) => {
    const ns = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(ns, "svg");
    svg.setAttribute("class", "swatch");
    svg.setAttribute("viewBox", "-7 -7 14 14");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS(ns, "path");
    const place = (data.places ?? [])[index] ?? index;
    path.setAttribute("class", `fill m${place % 6}`);
    path.setAttribute("d", SHAPES[place % SHAPES.length]);
    svg.append(path);
    return svg;
  };
  const digits = Math.max(0, 3 - Math.ceil(Math.log10(Math.max(scale[1] - scale[0], 1e-9)) - 1e-9));
  const number = (value) => value === null ? "–" :
    (Number.isInteger(value) ? String(value) : value.toFixed(Math.max(1, digits))).replace("-", "−");

  // ---- the items: what they are sorted and filtered by is there; the rest is unpacked, chunk by chunk, when it is looked at ----
  if (typeof data.index === "string" && !window.DecompressionStream) { $("packed").hidden = false; return; }
  const unpack = async (block) => {
    if (typeof block !== "string") return block;
    const bytes = Uint8Array.from(atob(block), (character) => character.charCodeAt(0));
    return JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"))).text());
  };
  const items = (await unpack(data.index)).map(([category, length, ...scores]) => ({ category, length, scores }));
  const chunks = [];
  const chunkOf = async (block) => {  // verdicts come as columns, with how many each run has on each item
    const columns = await unpack(block);
    let next = 0;
    const verdict = () => { const [c, v, e, r, p, n] = columns.verdicts.map((column) => column[next]); next += 1; return { c, v, e, r, p, n }; };
    columns.verdicts = columns.counts.map((counts) => counts.map((count) => Array.from({ length: count }, verdict)));
    return columns;
  };
  const whole = async (index) => {
    const at = Math.floor(index / data.size);
    const [item, columns] = [items[index], await (chunks[at] ??= chunkOf(data.chunks[at]))];
    if (item.id !== undefined) return item;
    for (const [name, column] of Object.entries(columns)) item[name] = column[index % data.size];
    return item;
  };
  const searched = async (index) => {
    const item = await whole(index);
    return item.text ??= [
      item.instruction, item.input, item.reference, item.category ?? "", item.id, ...item.answers.map((a) => a ?? ""),
      ...item.verdicts.flat().map((v) => v.e), ...item.failures.flat().map((f) => `${f.reason} ${f.text}`),
    ].join("\n").toLowerCase();
  };

  // ---- controls ----
  const option = (select, value, text) => select.append(new Option(text, value));
  const categories = [...new Set(items.map((item) => item.category).filter((c) => c !== null))].sort();
  option($("category"), "", "all");
  categories.forEach((name, index) => option($("category"), String(index), name));
  $("category-label").hidden = categories.length === 0;
  runs.forEach((name, index) => { option($("first"), index, name); option($("second"), index, name); });
  const other = (data.places ?? []).findIndex((place) => place !== data.places[0]);
  $("second").value = String(other > 0 ? other : Math.min(1, runs.length - 1));  // a run of another model, if there is one
  document.querySelector(".of-two").hidden = runs.length < 2;

  const nameOf = (which) => runs[Number($(which).value)];
  const fillDependent = () => {
    const [outcome, sort] = [$("outcome").value, $("sort").value];
    $("outcome").replaceChildren();
    $("sort").replaceChildren();
    option($("outcome"), "all", "all items");
    if (runs.length > 1) {
      option($("outcome"), "a", `${nameOf("first")} higher`);
      option($("outcome"), "b", `${nameOf("second")} higher`);
      option($("outcome"), "tie", "equal scores");
    }
    option($("outcome"), "missing", "a score is missing");
    option($("sort"), "order", "order in the file");
    if (runs.length > 1) {
      option($("sort"), "a-b", `${nameOf("first")} furthest ahead`);
      option($("sort"), "b-a", `${nameOf("second")} furthest ahead`);
      option($("sort"), "spread", "largest spread of scores");
    }
    option($("sort"), "low", "lowest score first");
    option($("sort"), "high", "highest score first");
    option($("sort"), "long", "longest answer first");
    $("outcome").value = outcome || "all";
    $("sort").value = sort || "order";
  };
  fillDependent();

  // ---- filter and sort ----
  let found = [];
  let shown = 0;
  let current = null;
  let terms = [];
  const present = (item) => item.scores.filter((s) => s !== null);
  const gap = (item) => {
    const [a, b] = [item.scores[Number($("first").value)], item.scores[Number($("second").value)]];
    return a === null || b === null ? null : a - b;
  };
  const outcomes = {
    all: () => true,
    a: (item) => gap(item) > 0,
    b: (item) => gap(item) < 0 && gap(item) !== null,
    tie: (item) => gap(item) === 0,
    missing: (item) => item.scores.some((s) => s === null),
  };
  const descending = (key) => (x, y) => (key(y) ?? -Infinity) - (key(x) ?? -Infinity) || x - y;
  const extreme = (pick, none) => (i) => { const s = present(items[i]); return s.length ? pick(...s) : none; };
  const orders = {
    order: (x, y) => x - y,
    "a-b": descending((i) => gap(items[i])),
    "b-a": descending((i) => { const g = gap(items[i]); return g === null ? null : -g; }),
    spread: descending((i) => { const s = present(items[i]); return s.length ? Math.max(...s) - Math.min(...s) : null; }),
    low: (x, y) => extreme(Math.min, Infinity)(x) - extreme(Math.min, Infinity)(y) || x - y,
    high: descending(extreme(Math.max, null)),
    long: descending((i) => items[i].length),
  };
  let turn = 0;  // what was begun before the last change is dropped
  const update = async (keep = true) => {
    const mine = ++turn;
    terms = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const category = $("category").value === "" ? null : categories[Number($("category").value)];
    let fitting = items.map((_, index) => index).filter((index) =>
      (category === null || items[index].category === category) &&
      outcomes[$("outcome").value](items[index]));
    if (terms.length) {
      const [wanted, candidates] = [terms, fitting];
      fitting = [];
      for (const index of candidates) {
        const text = items[index].text ?? await searched(index);
        if (mine !== turn) return;
        if (wanted.every((term) => text.includes(term))) fitting.push(index);
      }
    }
    found = fitting;
    found.sort(orders[$("sort").value]);
    $("count").textContent = found.length === items.length ? `${items.length.toLocaleString("en")} items` :
      `${found.length.toLocaleString("en")} of ${items.length.toLocaleString("en")} items`;
    $("list").replaceChildren();
    shown = 0;
    await showMore();
    if (mine !== turn) return;
    if (!found.length) $("list").append(make("li", "nothing", "No item fits. Clear the search or choose other filters."));
    document.querySelector(".list-pane").scrollTop = 0;
    await select(keep && found.includes(current) ? current : found[0] ?? null);
  };

  // ---- the list ----
  const row = (index) => {
    const item = items[index];
    const li = make("li");
    const button = make("button");
    button.type = "button";
    button.dataset.index = index;
    button.append(make("span", "row-title", [item.instruction, item.input].filter(Boolean).join(" · ").slice(0, 240) || item.id));
    const line = make("span", "row-scores");
    item.scores.forEach((score, run) => {
      const cell = make("span");
      cell.append(swatch(run), make("span", "sr", `${runs[run]}: `), document.createTextNode(number(score)));
      line.append(cell);
    });
    if (item.category !== null) line.append(make("span", "kind", item.category));
    button.append(line);
    button.addEventListener("click", () => select(index));
    li.append(button);
    return li;
  };
  const showMore = async () => {
    const mine = turn;
    const next = found.slice(shown, shown + PAGE);
    shown += next.length;
    for (const index of next) await whole(index);
    if (mine !== turn) return;
    $("list").append(...next.map(row));
    $("more").hidden = shown >= found.length;
    $("more").textContent = `Show ${Math.min(PAGE, found.length - shown)} more of ${found.length - shown}`;
  };
  $("more").addEventListener("click", async () => {
    const from = shown;
    await showMore();
    $("list").children[from]?.querySelector("button").focus();
    mark();
  });
  const buttonOf = (index) => $("list").querySelector(`button[data-index="${index}"]`);
  const mark = () => {
    $("list").querySelector("[aria-current]")?.removeAttribute("aria-current");
    buttonOf(current)?.setAttribute("aria-current", "true");
  };

  // ---- the detail ----
  const written = (tag, css, text) => {
    const node = make(tag, css);
    if (!terms.length) { node.textContent = text; return node; }
    const pattern = new RegExp(terms.map((t) => t.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).sort((a, b) => b.length - a.length).join("|"), "gi");
    let at = 0;
    for (const match of text.matchAll(pattern)) {
      node.append(text.slice(at, match.index), make("mark", "", match[0]));
      at = match.index + match[0].length;
    }
    node.append(text.slice(at));
    return node;
  };
  const block = (label, text) => {
    const node = make("div", "block");
    node.append(make("p", "label", label), written("div", "text", text));
    return node;
  };
  const card = (item, run) => {
    const node = make("section", "card");
    const head = make("div", "card-head");
    const title = make("h3");
    title.append(swatch(run), document.createTextNode(runs[run]));
    const about = [];
    if (item.tokens[run] !== null) about.push(`${item.tokens[run]} tokens`);
    if (item.finish[run] === "length") about.push("cut off at the limit");
    head.append(title, make("span", "meta", about.join(", ")), make("span", "score", number(item.scores[run])));
    node.append(head);
    const answer = item.answers[run];
    node.append(answer === null ? make("div", "text empty", "no answer in the files") :
      answer.trim() === "" ? make("div", "text empty", "(empty answer)") : written("div", "text answer-text", answer.replace(/^\s*\n|\s+$/g, "")));
    const words = make("div", "words");
    const repeats = new Set(item.verdicts[run].map((v) => v.r)).size;
    const several = new Set(item.verdicts[run].map((v) => v.c)).size > 1;
    for (const v of item.verdicts[run]) {
      const by = [several ? v.c : "score", number(v.v)];
      const where = [repeats > 1 ? `repeat ${v.r + 1}` : "", v.n > 1 ? `shown at place ${v.p + 1} of ${v.n}` : ""].filter(Boolean).join(", ");
      const p = make("p");
      p.append(make("span", "by", `${by.join(" ")}${where ? ` (${where})` : ""}${v.e ? ": " : ""}`), written("span", "", v.e));
      words.append(p);
    }
    for (const f of item.failures[run]) {
      const p = make("p", "failed", `no score: ${f.reason}${f.text ? ": " : ""}`);
      p.append(written("span", "", f.text));
      words.append(p);
    }
    if (words.childNodes.length) node.append(words);
    return node;
  };
  const select = async (index, focus = false) => {
    current = index;
    mark();
    if (index !== null) await whole(index);
    if (current !== index) return;
    const detail = $("detail");
    detail.replaceChildren();
    detail.scrollTop = 0;
    if (index === null) return;
    const item = items[index];
    const at = found.indexOf(index);
    const head = make("div", "detail-head");
    const steps = make("span", "steps");
    for (const [by, sign, words] of [[-1, "←", "Previous item"], [1, "→", "Next item"]]) {
      const button = make("button", "", sign);
      button.type = "button";
      button.setAttribute("aria-label", words);
      button.disabled = found[at + by] === undefined;
      button.addEventListener("click", async () => { await step(by); $("detail").focus(); });
      steps.append(button);
    }
    const about = make("span", "", `Item ${index + 1}${item.category !== null ? ` · ${item.category}` : ""} · `);
    about.append(make("code", "", item.id));
    head.append(about, steps);
    detail.append(head, written("div", "text ask", item.instruction || "(the instruction is not in the files)"));
    if (item.input) detail.append(block("Input", item.input));
    if (item.reference) detail.append(block("Reference answer", item.reference));
    runs.forEach((_, run) => detail.append(card(item, run)));
    detail.setAttribute("aria-label", `Item ${index + 1}`);
    if (focus) buttonOf(index)?.focus({ preventScroll: true });
  };
  const step = async (by) => {
    const next = found[found.indexOf(current) + by];
    if (next === undefined) return false;
    while (!buttonOf(next) && shown < found.length) await showMore();
    await select(next);
    const pane = document.querySelector(".list-pane");
    const button = buttonOf(next);
    const [box, outer] = [button.getBoundingClientRect(), pane.getBoundingClientRect()];
    if (box.top < outer.top) pane.scrollTop += box.top - outer.top;
    if (box.bottom > outer.bottom) pane.scrollTop += box.bottom - outer.bottom;
    return true;
  };

  // ---- events ----
  let waiting = 0;
  $("search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => update(), 80); });
  for (const id of ["category", "outcome"]) $(id).addEventListener("change", () => update());
  $("sort").addEventListener("change", () => update(false));
  for (const id of ["first", "second"]) $(id).addEventListener("change", () => { fillDependent(); update(); });
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", async (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
    if (event.key === "Escape" && event.target === $("search")) { $("search").value = ""; update(); return; }
    if (typing) {
      if (event.target === $("search") && event.key === "ArrowDown") { event.preventDefault(); buttonOf(current)?.focus(); }
      return;
    }
    if (event.key === "/") { event.preventDefault(); $("search").focus(); $("items").scrollIntoView(); return; }
    const inList = $("list").contains(event.target);
    const by = event.key === "j" || (inList && event.key === "ArrowDown") ? 1 : event.key === "k" || (inList && event.key === "ArrowUp") ? -1 : 0;
    if (by && inList && event.target.dataset.index !== undefined) current = Number(event.target.dataset.index);
    if (by) { event.preventDefault(); if (await step(by) && inList) buttonOf(current)?.focus({ preventScroll: true }); }
  });

  $("controls").hidden = false;
  $("browser").hidden = false;
  document.querySelector(".keys").hidden = false;
  await update();
})();
