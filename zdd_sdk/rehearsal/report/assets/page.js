"use strict";
const data = JSON.parse(document.getElementById("rehearsal").textContent);
const { summary, timeline, labels, phases, instances } = data;
const page = document.getElementById("page");
const end = Math.max(summary.seconds, ...phases.map((phase) => phase.end || 0), 1e-3);
const CHANGES = ["deploy", "rollback"];
const SIDES = ["old", "new"].filter((side) => timeline.sides[side]);

// Everything shown is set as text, never as markup: names come from the rehearsed application.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") Object.assign(element.style, value);
    else if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const number = (value, digits = 0) =>
  Number(value).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const seconds = (value) => (value ? `${number(value, 1)} s` : "–");
const span = (value) => (value >= 1000 ? `${number(value / 1000, 2)} s` : `${number(value, value && value < 10 ? 1 : 0)} ms`);
const latency = (value) => (value == null ? "–" : span(value));
const bytes = (value) => `${number(value / 2 ** 20)} MiB`;
const percent = (value) => `${(100 * Math.min(Math.max(value, 0), end)) / end}%`;
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const title = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const faultName = (fault) => (fault.text ? `${fault.kind}: ${fault.text}` : fault.kind);
const releaseName = (side) => `${side} release ${labels[side]}`;

/* What the rehearsal found ------------------------------------------------------------------- */

function header() {
  const verdict = summary.ok ? "✓ Nothing was lost" : "✗ Something was lost";
  return make("header", {},
    make("div", {},
      make("h1", {}, `${title(summary.strategy)} rehearsal ${summary.sdk ? "with" : "without"} zdd-sdk`),
      make("p", { class: "lead" }, `Release ${labels.old} → ${labels.new}${summary.rollback_s ? ` → ${labels.old}` : ""}, ` +
        `${summary.instances} instances, ${summary.users} clients, router ${summary.router}, ` +
        `${number(summary.requests)} requests in ${seconds(summary.seconds)}`)),
    make("div", { class: `verdict ${summary.ok ? "good" : "bad"}` }, verdict));
}

function tiles() {
  const losses = [["failed", "failed requests"], ["lost_logins", "lost logins"], ["lost_fields", "lost session fields"],
    ["duplicates", "duplicated effects"]];
  return make("section", { class: "tiles" },
    ...losses.map(([key, text]) => make("div", { class: summary[key] ? "tile bad" : "tile" },
      make("b", {}, number(summary[key])), make("span", {}, text))),
    make("div", { class: "tile" }, make("b", {}, span(summary.longest_gap_ms)), make("span", {}, "longest gap")));
}

function minor() {
  const facts = [["deploy", seconds(summary.deploy_s)], ["rollback", seconds(summary.rollback_s)],
    ["both releases answering", seconds(summary.mixed_version_window_s + summary.rollback_mixed_version_window_s)],
    ["peak instances", number(summary.peak_instances)], ["peak memory", bytes(summary.peak_rss_bytes)]];
  if (summary.announced) facts.push(["503 during a fault", number(summary.announced)]);
  if (summary.asserts) facts.push(["other asserts broken", number(summary.asserts)]);
  if (summary.killed) facts.push(["killed", number(summary.killed)]);
  return make("div", { class: "minor" }, ...facts.map(([text, value]) => make("span", {}, `${text} `, make("b", {}, value))));
}

/* Keys, the strip of phases, the time axis ------------------------------------------------------ */

const swatch = (name) => make("i", { style: { background: `var(--${name})` } });

function stroke(width, dash) {
  const box = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  box.setAttribute("width", "24"); box.setAttribute("height", "6");
  for (const [name, value] of Object.entries({ d: "M0 3H24", stroke: "currentColor", "stroke-width": width,
    "stroke-dasharray": dash })) path.setAttribute(name, value);
  box.append(path);
  return box;
}

const key = (mark, text) => make("span", {}, mark, text);
const keys = (...entries) => make("div", { class: "keys" }, ...entries);
const releaseKeys = () => SIDES.map((side) => key(swatch(side), releaseName(side)));

function strip() {
  const parts = phases.map((phase) => {
    const to = phase.end ?? end;
    return make("span", { class: CHANGES.includes(phase.name) ? "shaded" : "", title: `${phase.name}: ${seconds(phase.start)} to ${seconds(to)}`,
      style: { left: percent(phase.start), width: percent(to - phase.start) } }, phase.name);
  });
  return make("div", { class: "strip" }, ...parts);
}

function card(name, legend, ...children) {
  return make("section", { class: "card" }, make("div", { class: "head" }, make("h2", {}, name), legend), ...children);
}

/* Plots ---------------------------------------------------------------------------------------- */

const sync = uPlot.sync("rehearsal");
const plots = [];

function shade(u) {
  const { ctx, bbox } = u;
  const at = (value) => u.valToPos(Math.min(Math.max(value, 0), end), "x", true);
  ctx.save();
  ctx.fillStyle = color("phase");
  for (const phase of phases.filter((each) => CHANGES.includes(each.name)))
    ctx.fillRect(at(phase.start), bbox.top, at(phase.end ?? end) - at(phase.start), bbox.height);
  for (const fault of summary.faults) {
    ctx.fillStyle = color("fault");
    ctx.fillRect(at(fault.start), bbox.top, Math.max(at(fault.end) - at(fault.start), 2), bbox.height);
    ctx.fillStyle = color("bad");
    ctx.fillRect(at(fault.start), bbox.top, 2 * devicePixelRatio, bbox.height);
  }
  ctx.restore();
}

function nameFaults(u) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.font = `600 ${12 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.lineWidth = 4 * devicePixelRatio;
  summary.faults.forEach((fault, place) => {
    const text = ` ⚡ ${faultName(fault)} `, x = u.valToPos(fault.start, "x", true), y = bbox.top + (26 + 15 * (place % 3)) * devicePixelRatio;
    ctx.textAlign = x > bbox.left + bbox.width * 0.75 ? "right" : "left";
    ctx.strokeStyle = color("card");
    ctx.strokeText(text, x, y);
    ctx.fillStyle = color("bad");
    ctx.fillText(text, x, y);
  });
  ctx.restore();
}

function axes(format, more) {
  const common = { stroke: () => color("soft"), grid: { stroke: () => color("grid"), width: 1 }, ticks: { show: false },
    font: "12px system-ui, sans-serif" };
  return [{ ...common, size: 26, gap: 4, space: 70, values: (_, ticks) => ticks.map((tick) => `${+tick.toFixed(2)} s`) },
    { ...common, size: parseInt(color("gutter"), 10), gap: 6, space: 34, values: format, ...more }];
}

function plot(host, height, series, columns, options) {
  const tip = make("div", { class: "tip", hidden: "" });
  const settings = {
    width: host.clientWidth, height, padding: [6, window.innerWidth <= 760 ? 6 : 12, 0, 0], legend: { show: false },
    cursor: { sync: { key: sync.key, setSeries: false }, y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: { x: { time: false, range: () => [0, end] }, y: options.scale },
    axes: axes(options.ticks, options.axis), series: [{}, ...series], bands: options.bands || [],
    hooks: { drawClear: [shade], draw: [...(options.draw ? [options.draw] : []), nameFaults], setCursor: [(u) => point(u, tip, options.rows)] },
  };
  const made = new uPlot(settings, columns, host);
  host.append(tip);
  plots.push([made, host, height]);
}

function point(u, tip, rows) {
  const { idx, left } = u.cursor;
  tip.hidden = idx == null || left == null || left < 0;
  if (tip.hidden) return;
  tip.replaceChildren(make("div", {}, `${timeline.at[idx].toFixed(2)} s`), ...rows(idx));
  const offset = u.over.offsetLeft + left;
  const flip = left > u.over.clientWidth / 2;
  tip.style.left = `${flip ? offset - tip.offsetWidth - 12 : offset + 12}px`;
}

function markBroken(u) {
  const { ctx, bbox } = u;
  const half = 4 * devicePixelRatio;
  ctx.save();
  ctx.fillStyle = color("ink");
  timeline.broken.forEach((value, place) => {
    if (!value) return;
    const x = u.valToPos(centers[place], "x", true), y = bbox.top + 2 * devicePixelRatio;
    ctx.beginPath(); ctx.moveTo(x - half, y); ctx.lineTo(x + half, y); ctx.lineTo(x, y + 2 * half); ctx.fill();
  });
  ctx.restore();
}

const centers = timeline.at.map((at) => at + timeline.width / 2);
const rate = (values) => values.map((value) => value / timeline.width);
const blanks = (values) => values.map((value) => value || null);
// Rates are labelled as whole numbers, so the axis steps by whole numbers.
const WHOLE = [0, 1, 2, 3, 4, 5, 6].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power));
// A release that nobody asks for a while has no line at all; a single empty bucket is a zero.
const present = (values) => values.map((value, place) => (value || values[place - 1] || values[place + 1] ? value : null));

function traffic() {
  const host = make("div", { class: "plot" });
  const lines = SIDES.map((side) => ({ stroke: () => color(side), fill: () => `${color(side)}22`, width: 2, points: { show: false } }));
  const bars = { stroke: () => color("bad"), fill: () => color("bad"), width: 0, points: { show: false },
    paths: uPlot.paths.bars({ size: [1, 8, 4 * devicePixelRatio] }) };
  const refused = { stroke: () => color("soft"), width: 1.5, dash: [5, 3], points: { show: false } };
  const columns = [centers, ...SIDES.map((side) => present(rate(timeline.sides[side].requests))), present(rate(timeline.announced)),
    blanks(rate(timeline.failed))];
  const rows = (idx) => [...SIDES.map((side) => make("div", {}, dot(side), `${releaseName(side)}: ${number(rate(timeline.sides[side].requests)[idx])} per s`)),
    make("div", {}, dot("bad"), `failed: ${number(timeline.failed[idx])}`),
    ...(timeline.broken[idx] ? [make("div", {}, dot("bad"), `broken promises: ${number(timeline.broken[idx])}`)] : []),
    ...(timeline.announced[idx] ? [make("div", {}, `503 with Retry-After: ${timeline.announced[idx]}`)] : [])];
  const legend = keys(...releaseKeys(), key(swatch("bad"), "failed"), ...(summary.announced ? [key(stroke(1.5, "5 3"), "503 with Retry-After")] : []),
    ...(data.violations_total ? [key("▼ ", "broken promise")] : []));
  const section = card("Requests per second", legend, strip(), host);
  const scale = { range: (_, __, top) => [0, Math.max(top * 1.2, 1)] };
  const ticks = (_, values) => values.map((value) => number(value));
  return [section, () => plot(host, 230, [...lines, refused, bars], columns, { scale, ticks, rows, draw: markBroken, axis: { incrs: WHOLE } })];
}

const dot = (name) => make("i", { style: { background: `var(--${name})`, display: "inline-block", width: "9px", height: "9px",
  borderRadius: "2px", marginRight: "6px" } });
const PERCENTILES = [["p50", 2, []], ["p95", 1.5, [6, 4]], ["p99", 1.25, [2, 3]]];

// 1, 2, 5, 10 … between two bounds, thinned to 1, 10, 100 … where they would crowd.
function steps(low, high) {
  const digits = Math.log10(high / low) > 3 ? [1] : [1, 2, 5];
  const powers = Array.from({ length: 9 }, (_, place) => 10 ** (place - 2));
  return powers.flatMap((power) => digits.map((digit) => digit * power)).filter((value) => value >= low && value <= high);
}

function latencies() {
  const host = make("div", { class: "plot" });
  const series = [], columns = [centers], bands = [];
  for (const side of SIDES) {
    bands.push({ series: [series.length + 3, series.length + 1], fill: () => `${color(side)}1c` });
    for (const [name, width, dash] of PERCENTILES) {
      series.push({ stroke: () => color(side), width, dash, points: { show: false }, spanGaps: false });
      columns.push(timeline.sides[side][name]);
    }
  }
  const rows = (idx) => SIDES.filter((side) => timeline.sides[side].p50[idx] != null).map((side) => make("div", {}, dot(side),
    `${releaseName(side)}: ${PERCENTILES.map(([name]) => `${name} ${latency(timeline.sides[side][name][idx])}`).join(", ")}`));
  const section = card("Latency of answers", keys(...releaseKeys(), ...PERCENTILES.map(([name, width, dash]) => key(stroke(width, dash.join(" ")), name))),
    strip(), host);
  const scale = { distr: 3, range: (_, low, high) => [2 ** Math.floor(Math.log2(low || 1)), 2 ** Math.ceil(Math.log2((high || 10) * 1.05))] };
  const ticks = (_, values) => values.map((value) => span(value).replace(/\.0+ /, " "));
  const axis = { splits: (_, __, low, high) => steps(low, high), filter: (_, values) => values };
  return [section, () => plot(host, 250, series, columns, { scale, ticks, bands, rows, axis })];
}

/* Instances ------------------------------------------------------------------------------------ */

function segment(kind, from, to, text) {
  if (from == null || to == null || to <= 0 || from >= end) return null;
  const start = Math.max(from, 0);
  return make("i", { class: kind, title: text, style: { left: percent(start), width: percent(Math.min(to, end) - start) } });
}

function row(instance) {
  const { started, ready, drain, exited } = instance;
  const last = exited ?? end;
  const text = `${instance.id} (${releaseName(instance.release)}): started ${started.toFixed(2)} s` +
    (ready == null ? "" : `, ready ${ready.toFixed(2)} s`) + (drain == null ? "" : `, drain ${drain.toFixed(2)} s`) +
    (exited == null ? "" : `, exit ${exited.toFixed(2)} s with status ${instance.code}`) + (instance.killed ? ", killed" : "");
  return make("div", { class: `row ${instance.release}`, role: "img", "aria-label": text },
    make("label", { title: text }, instance.id),
    segment("starting", started, ready ?? drain ?? last, text),
    segment("ready", ready, drain ?? last, text),
    segment("drain", drain, last, text),
    exited != null && exited < end
      ? make("i", { class: instance.killed ? "exit killed" : "exit", title: text, style: { left: percent(exited) } }) : null);
}

function lives() {
  const rows = make("div", { class: "rows" },
    ...phases.filter((phase) => CHANGES.includes(phase.name)).map((phase) =>
      make("span", { class: "band", style: { left: percent(phase.start), width: percent((phase.end ?? end) - phase.start) } })),
    ...summary.faults.map((fault) => make("span", { class: "mark", title: faultName(fault),
      style: { left: percent(fault.start), width: percent(fault.end - fault.start) } })),
    ...instances.map(row));
  const step = [0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600].find((width) => end / width <= (window.innerWidth <= 760 ? 6 : 14)) || 1200;
  const ticks = Array.from({ length: Math.floor(end / step) + 1 }, (_, place) => place * step);
  const grey = (kind, text) => { const mark = make("i", { class: `${kind} grey` }); return key(mark, text); };
  const exit = key(make("i", { style: { width: "3px", background: "var(--ink)", height: "13px" } }), "exit");
  return card("Instances", keys(grey("starting", "starting"), grey("ready", "ready"), grey("drain", "draining"), exit, ...releaseKeys()),
    strip(), rows, make("div", { class: "axis" }, ...ticks.map((tick) => make("span", { style: { left: percent(tick) } }, `${tick} s`))));
}

/* Tables --------------------------------------------------------------------------------------- */

function table(columns, lines) {
  const head = make("tr", {}, ...columns.map((name) => make("th", {}, name)));
  const body = lines.map((cells) => make("tr", {}, ...cells.map(([text, bad]) => make("td", { class: bad ? "bad" : undefined }, text))));
  return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}

const plain = (text) => [String(text), false];
const count = (value) => [number(value), false];
const loss = (value) => [number(value), value > 0];
const speeds = (each) => ["p50", "p95", "p99", "max"].map((name) => plain(each[name] ? span(each[name]) : "–"));

function byRelease() {
  const lines = Object.entries(summary.releases).map(([side, each]) =>
    [plain(`${side} · ${each.label}`), count(each.requests), loss(each.failed), ...speeds(each.latency_ms)]);
  return card("By release", null, table(["release", "requests", "failed", "p50", "p95", "p99", "max"], lines));
}

function byPhase() {
  const lines = summary.phases.map((each) => [plain(each.name), plain(seconds(each.seconds)), count(each.requests), loss(each.failed),
    loss(each.violations), ...speeds(each.latency_ms).slice(0, 3)]);
  return card("By phase", null, table(["phase", "length", "requests", "failed", "broken", "p50", "p95", "p99"], lines));
}

function byRoute() {
  const lines = summary.routes.map((each) => [plain(`${each.method} ${each.route}`), count(each.requests), loss(each.failed),
    ...(summary.announced ? [count(each.announced)] : []), ...speeds(each.latency_ms)]);
  return card("By route", null, table(["route", "requests", "failed", ...(summary.announced ? ["503 in fault"] : []), "p50", "p95", "p99", "max"], lines));
}

function failures() {
  const kinds = Object.entries(summary.failures);
  if (!kinds.length) return null;
  return card("Failed requests by kind", null, table(["kind", "requests"], kinds.map(([kind, value]) => [plain(kind), loss(value)])));
}

const KINDS = { login: "lost login", field: "lost field", effect: "duplicated effect", assert: "assert" };

function violations() {
  if (!data.violations_total) return null;
  const head = make("tr", {}, ...["at", "kind"].map((name) => make("th", {}, name)), make("th", { class: "text" }, "what"),
    ...["client", "phase", "release"].map((name) => make("th", {}, name)));
  const lines = data.violations.map((each) => make("tr", {}, make("td", {}, `${each.at.toFixed(2)} s`), make("td", {}, KINDS[each.kind]),
    make("td", { class: "text" }, each.text), make("td", {}, String(each.user)), make("td", {}, each.phase),
    make("td", {}, each.release ? `${each.release} · ${labels[each.release] ?? ""}` : "–")));
  const more = data.violations_total - data.violations.length;
  return card(`Broken promises (${number(data.violations_total)})`, null,
    make("div", { class: "scroll long", tabindex: "0" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines))),
    more > 0 ? make("p", { class: "lead" }, `and ${number(more)} more`) : null);
}

function notes() {
  if (!summary.notes.length) return null;
  return card("Notes", null, make("ul", { class: "notes" }, ...summary.notes.map((note) => make("li", {}, note))));
}

function footer() {
  const versions = Object.entries(summary.versions).map(([name, version]) => `${name} ${version}`);
  return make("footer", {}, [`Traffic began ${summary.began}`, summary.engine, ...versions].filter(Boolean).join(" · "));
}

/* The page ------------------------------------------------------------------------------------- */

const two = (...children) => make("div", { class: "two" }, ...children.filter(Boolean));
const [trafficCard, drawTraffic] = traffic();
const [latencyCard, drawLatencies] = latencies();
page.replaceChildren(...[header(), tiles(), minor(), trafficCard, latencyCard, lives(), violations(), failures(),
  two(byRelease(), byPhase()), byRoute(), notes(), footer()].filter(Boolean));
drawTraffic();
drawLatencies();
new ResizeObserver(() => plots.forEach(([made, host, height]) => made.setSize({ width: host.clientWidth, height }))).observe(page);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(([made]) => made.redraw(false)));
