// A watched run: takes what the page holds, or what the server goes on telling, and shows it.
"use strict";

const QUANTITIES = {
  signal: { tab: "Signal", of: "layers", colour: "rms", about: "Size of each layer’s output: root mean square over the batch, in the units of the signal. First layer on top; colour is logarithmic." },
  gradient: { tab: "Gradient", of: "layers", colour: "gradient", about: "Root mean square of the loss’s gradient at each layer’s output, in loss per unit of signal. First layer on top; colour is logarithmic." },
  ratio: { tab: "Update / weight", of: "parameters", colour: "spread", about: "How far one step moves each parameter, as a share of its size: norm of the update over norm of the weights, from at most 1,024 entries. A pure number." },
  effective_lr: { tab: "Effective step", of: "parameters", colour: "weight", about: "Learning rate over (√v̂ + ε) of an adaptive optimiser: how far one unit of gradient moves a weight. Flat where ε rules, and the optimiser no longer adapts." },
};
const PANELS = [
  { name: "Gradient norm", unit: "", log: true, lines: [["clipped_from", "before clipping", "edge", [4, 3]], ["gradient_norm", "as it steps", "gradient", null]], sparse: true },
  { name: "Learning rate", unit: "", log: false, lines: [["lr", "first parameter group", "weight", null]] },
  { name: "Time of a step", unit: "ms", log: true, lines: [["seconds", "from step to step, in ms", "activation", null]], factor: 1000 },
];
// The script's own evaluations, set by set.
const EVALUATIONS = ["gradient", "weight", "spread", "activation"];

function startRun(box) {
  const find = (selector) => box.querySelector(selector);
  const run = { box, find, about: {}, trainings: [], metrics: [], findings: [], judged: 0, ranks: null, rank: 0, pick: 0, quantity: "signal", at: null, tenth: false, step: null, layer: null, waiting: false, charts: [] };
  run.loss = { canvas: find(".loss canvas"), lines: [], log: true };
  run.map = { heat: find(".heat"), profile: find(".profile"), bar: find(".bar"), columns: [], steps: [], names: [] };
  buildTabs(run);
  listen(run);
  const data = find("script.data");
  if (data) take(run, JSON.parse(data.textContent));
  else if (box.dataset.stream) follow(run);
}

function follow(run) {
  if (run.source) run.source.close();
  const source = run.source = new EventSource(box_address(run));
  source.onmessage = (event) => take(run, JSON.parse(event.data));
  source.onerror = () => { run.lostContact = true; state(run); };
  source.onopen = () => { run.lostContact = false; };
}

const box_address = (run) => new URL(`${run.box.dataset.stream}?rank=${run.rank}`, location.href).href;

// -- what is told ---------------------------------------------------------------------------------

function take(run, news) {
  const begin = performance.now();
  if (news.whole) run.trainings = [];
  run.about = news.run || {};
  run.ranks = news.ranks || null;
  run.judged = news.judged;
  run.metrics = news.metrics;
  run.findings = news.findings;
  news.trainings.forEach((told, i) => takeTraining(run, told, i));
  run.pick = Math.min(run.pick, Math.max(0, run.trainings.length - 1));
  buildPick(run);
  buildRanks(run);
  buildPanels(run);
  state(run);
  newsItems(run);
  draw(run);
  run.box.dataset.took = String(performance.now() - begin);
  run.box.dataset.told = String(Number(run.box.dataset.told || 0) + 1);
}

function takeTraining(run, told, i) {
  if (!run.trainings[i]) run.trainings[i] = { ...told, steps: [], spread: [], columns: Object.fromEntries(Object.keys(QUANTITIES).map((q) => [q, []])) };
  const training = run.trainings[i];
  training.series = told.series;
  training.heldOut = told.held_out;
  training.steps.push(...told.columns.steps);
  for (const [name, { of }] of Object.entries(QUANTITIES)) {
    const codes = unpack(told.columns[name]), width = training[of].length;
    for (let k = 0; k < told.columns.steps.length; k += 1) {
      const column = codes.subarray(k * width, (k + 1) * width);
      training.columns[name].push(column);
      if (name === "ratio") training.spread.push(spread(column));
    }
  }
  thin(training);
}

function unpack(text) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
  return new Uint16Array(bytes.buffer);
}

// A page that is open for long keeps at most twice what it began with; the latest always stays.
function thin(training) {
  if (training.steps.length <= 480) return;
  const keep = (_, i, all) => i === all.length - 1 || i % 2 === 0;
  training.steps = training.steps.filter(keep);
  training.spread = training.spread.filter(keep);
  for (const name of Object.keys(QUANTITIES)) training.columns[name] = training.columns[name].filter(keep);
}

// -- words ----------------------------------------------------------------------------------------

function element(kind, className, text) {
  const made = document.createElement(kind);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function state(run) {
  const { about } = run, training = run.trainings[run.pick];
  const light = run.find(".light"), words = run.find(".words");
  const absent = Boolean(run.ranks) && !about.started && !training;
  const done = Boolean(about.end), well = ["finished", "not said"].includes(about.end);
  light.className = `light ${(run.lostContact || absent) && !done ? "" : done ? (well ? "done" : "broke") : "runs"}`;
  const parts = [];
  const say = done ? (about.end === "not said" ? "The file does not say how it ended" : sentence(about.end)) : run.lostContact ? "No word from the server" : absent ? "Not there" : "Running";
  const head = element("b", "", say);
  if (training) {
    const last = training.series.last[0], usual = training.series.usual[0];
    if (last !== undefined) parts.push(`${whole(last + 1)} steps`);
    const waits = training.series.waits[0];
    if (usual) parts.push(`${seconds(usual)} each${waits >= 0.005 ? `, ${percent(waits)} of it waiting for data` : ""}`);
    parts.push(`${training.model}, ${whole(training.layers.length)} layers, ${training.optimiser}`);
    parts.push(`${whole(training.steps.length)} examined step${training.steps.length === 1 ? "" : "s"} shown`);
  } else parts.push(absent ? `process ${run.rank} has written nothing yet` : "no training step yet");
  words.replaceChildren(head, ` · ${parts.join(" · ")}`);
  const cost = [];
  if (typeof about.overhead === "number") cost.push(`Watching took ${number(100 * about.overhead)} % of the time.`);
  if (about.every) cost.push(`Every ${whole(about.every)} steps one was examined.`);
  if (about.damaged) cost.push(`${whole(about.damaged)} lines of the file could not be read, and are left out.`);
  if (about.started) cost.push(`Begun ${about.started.replace("T", " ").replace("+00:00", " UTC")}.`);
  run.find(".cost").textContent = cost.join(" ");
}

const percent = (share) => (share < 0.1 ? `${number(100 * share)} %` : `${Math.round(100 * share)} %`);
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function newsItems(run) {
  const place = run.find(".news");
  const below = run.box.parentElement.querySelector(".judged");
  if (run.judged && below && Number(below.dataset.judged) >= run.judged) { place.replaceChildren(); return; }
  const items = run.findings.map((one) => {
    const bad = one.severity === "problem";
    const item = element("article", `item ${bad ? "problem" : "caution"}`);
    const kind = element("p", "kind");
    const since = one.since === null ? "" : `, since step ${whole(one.since)}`;
    kind.append(element("span", `badge ${bad ? "problem" : "caution"}`, bad ? "Problem" : "Caution"), element("code", "", one.code),
      ` ${one.name}${since}${run.ranks ? `, ${whose(run, one.ranks)}` : ""}`);
    item.append(kind, element("p", "", sentence(one.message)));
    return item;
  });
  if (run.judged) {
    const link = element("a", "", "Show the whole examination");
    link.href = location.pathname;
    const line = element("p", "whole", items.length ? "The run has ended and was examined. " : "The run has ended and was examined; nothing was found. ");
    line.append(link);
    items.push(line);
  }
  place.replaceChildren(...items);
}

function whose(run, ranks) {
  const there = run.ranks.others.length;
  if (ranks.length === there && there > 1) return there === run.ranks.of ? `all ${there} processes` : `all ${there} processes seen`;
  return listed(ranks);
}

function listed(ranks) {
  if (ranks.length === 1) return `process ${ranks[0]}`;
  if (ranks.length > 8) return `${ranks.length} processes`;
  return `processes ${ranks.slice(0, -1).join(", ")} and ${ranks[ranks.length - 1]}`;
}

// The other processes in a sentence each; of many, those that have something to say.
function sayRanks(run) {
  const { ranks } = run, there = new Map(ranks.others.map((one) => [one.rank, one]));
  const most = Math.max(0, ...ranks.others.map((one) => one.steps));
  const said = ranks.others.filter((one) => one.rank !== run.rank && (ranks.of <= 8 || (one.end && one.end !== "finished") || one.steps < 0.9 * most))
    .slice(0, 8).map((one) => `Process ${one.rank}: ${whole(one.steps)} steps${one.end ? `, ${one.end}` : ""}`);
  const absent = Array.from({ length: ranks.followed }, (_, k) => k).filter((k) => !there.has(k) && k !== run.rank);
  if (absent.length) said.push(`${sentence(listed(absent))} ${absent.length > 1 ? "have" : "has"} written nothing yet`);
  if (ranks.followed < ranks.of) said.push(`the first ${ranks.followed} of ${whole(ranks.of)} are followed`);
  return said.length ? `${said.join(". ")}.` : "";
}

// -- controls -------------------------------------------------------------------------------------

function buildTabs(run) {
  for (const [name, { tab }] of Object.entries(QUANTITIES)) {
    const button = element("button", "", tab);
    button.type = "button";
    button.dataset.quantity = name;
    button.addEventListener("click", () => { run.quantity = name; run.layer = null; draw(run); });
    run.find(".tabs").append(button);
  }
}

function buildPick(run) {
  const nav = run.find(".pick");
  nav.hidden = run.trainings.length < 2;
  const named = ({ model, size, optimiser }, i) => `${i + 1}: ${model}, ${size ? `${whole(size)} parameters, ` : ""}${optimiser}`;
  const names = run.trainings.map(named);
  if (names.join("\n") === [...nav.children].map((button) => button.textContent).join("\n")) return;
  nav.replaceChildren(...names.map((name, i) => {
    const button = element("button", "", name);
    button.type = "button";
    button.addEventListener("click", () => { run.pick = i; run.at = null; run.layer = null; buildPanels(run); state(run); draw(run); });
    return button;
  }));
}

function buildRanks(run) {
  const { ranks } = run, line = run.find(".ranks"), select = line.querySelector("select");
  line.hidden = !ranks;
  if (!ranks) return;
  line.querySelector(".others").textContent = ranks.followed ? sayRanks(run)
    : `${whole(ranks.of)} processes took part; the losses of the others are drawn beside that of process 0.`;
  select.parentElement.hidden = !ranks.followed;
  if (select.options.length !== (ranks.followed || 0)) {
    select.replaceChildren(...Array.from({ length: ranks.followed || 0 }, (_, k) => { const made = element("option", "", `${k} of ${ranks.of}`); made.value = String(k); return made; }));
  }
  select.value = String(run.rank);
}

function buildPanels(run) {
  const training = run.trainings[run.pick], waits = training && training.series.waited.some((v) => v !== null);
  const names = [...PANELS.map((p) => p.name), "Update / weight", ...(waits ? ["Waiting for data"] : []), ...run.metrics.map((m) => m.name)];
  const place = run.find(".small-panels");
  if (run.charts.length === names.length && run.charts.every((chart, i) => chart.name === names[i])) return;
  run.charts = names.map((name) => {
    const figure = element("figure", "panel"), caption = element("figcaption"), canvas = element("canvas");
    const legend = element("span", "legend");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${name} at every step`);
    caption.append(element("span", "name", name), legend);
    figure.append(caption, canvas);
    return { name, figure, canvas, legend, lines: [] };
  });
  place.replaceChildren(...run.charts.map((chart) => chart.figure));
  for (const chart of run.charts) pointAt(run, chart);
}

function listen(run) {
  run.find(".ranks select").addEventListener("change", (event) => {
    Object.assign(run, { rank: Number(event.target.value), at: null, layer: null, step: null });
    follow(run);
  });
  const slider = run.find(".time input"), latest = run.find(".follow");
  slider.addEventListener("input", () => {
    const last = Number(slider.max);
    run.at = Number(slider.value) >= last ? null : Number(slider.value);
    later(run);
  });
  latest.addEventListener("click", () => { run.at = null; draw(run); });
  run.find(".range").addEventListener("click", () => { run.tenth = !run.tenth; draw(run); });
  pointAt(run, run.loss);
  run.loss.canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move) return;
    event.preventDefault();
    const steps = run.loss.own || [];
    const now = run.step === null ? steps.length - 1 : nearest(steps, run.step);
    run.step = steps[Math.max(0, Math.min(steps.length - 1, now + move))];
    later(run);
  });
  for (const canvas of [run.map.heat, run.map.profile]) {
    canvas.addEventListener("pointermove", (event) => overMap(run, event, event.buttons > 0));
    canvas.addEventListener("pointerdown", (event) => overMap(run, event, true));
    canvas.addEventListener("pointerleave", () => { run.layer = null; later(run); });
  }
  new ResizeObserver(() => later(run)).observe(run.box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => later(run));
}

function pointAt(run, chart) {
  chart.canvas.addEventListener("pointermove", (event) => {
    const x = event.clientX - chart.canvas.getBoundingClientRect().left;
    run.step = chart.stepAt ? Math.max(chart.from, Math.min(chart.to, chart.stepAt(x))) : null;
    later(run);
  });
  chart.canvas.addEventListener("pointerleave", () => { run.step = null; later(run); });
}

function overMap(run, event, choose) {
  const box = event.currentTarget.getBoundingClientRect(), { left, right, top, bottom } = run.map.place;
  const share = (event.clientY - box.top - top) / (bottom - top);
  run.layer = share >= 0 && share < 1 ? Math.floor(share * run.map.names.length) : null;
  if (choose && event.currentTarget === run.map.heat) {
    const step = run.map.from + (event.clientX - box.left - left) / (right - left) * (run.map.to - run.map.from);
    let at = 0;
    run.map.steps.forEach((s, i) => { if (s <= step) at = i; });
    run.at = at === run.map.steps.length - 1 ? null : at;
  }
  later(run);
}

function later(run) {
  if (run.waiting) return;
  run.waiting = true;
  requestAnimationFrame(() => { run.waiting = false; draw(run); });
}

function nearest(steps, step) {
  let at = 0;
  for (let i = 0; i < steps.length && steps[i] <= step; i += 1) at = i;
  return at;
}

// -- drawing --------------------------------------------------------------------------------------

function draw(run) {
  const training = run.trainings[run.pick];
  for (const [i, button] of [...run.find(".pick").children].entries()) button.setAttribute("aria-pressed", String(i === run.pick));
  for (const part of [".loss", ".deep", ".small-panels"]) run.find(part).hidden = !training;
  if (!training) return;
  const { series } = training, last = series.last.length ? series.last[0] : 0;
  const scored = training.heldOut.map((one) => one.step[one.step.length - 1] || 0);
  const span = { to: Math.max(1, last, ...scored), from: run.tenth ? Math.floor(last * 0.9) : 0, at: run.step };
  run.find(".range").setAttribute("aria-pressed", String(run.tenth));
  drawLoss(run, training, span);
  drawDepth(run, training, span);
  run.charts.forEach((chart, i) => drawPanel(run, training, chart, i, span));
}

function drawLoss(run, training, span) {
  const { series } = training;
  const thinned = series.loss.some((v, i) => series.low[i] !== v || series.high[i] !== v);
  const line = { steps: series.step, values: series.loss, colour: "rms", broken: true, label: thinned ? "mean of neighbouring steps" : "each step" };
  if (thinned) { line.low = series.low; line.high = series.high; }
  const scored = training.heldOut.map((one, i) => ({ steps: one.step, values: one.value, colour: EVALUATIONS[i % EVALUATIONS.length], dash: [6, 3], sparse: true, broken: true, label: `evaluation, ${one.name}` }));
  const beside = ((run.ranks && run.ranks.losses[run.pick]) || []).map((one) => ({ steps: one.step, values: one.value, colour: "muted", thin: true, label: "other processes" }));
  Object.assign(run.loss, span, { lines: [...beside, line, ...scored], own: series.step });
  legend(run.find(".loss .legend"), [{ ...line, label: run.ranks ? `process ${run.rank}, ${line.label}` : line.label },
    ...(thinned ? [{ colour: "rms", band: true, label: "smallest to largest" }] : []), ...beside.slice(0, 1), ...scored]);
  drawCurves(run.loss);
  const readout = run.find(".loss .readout");
  if (!series.step.length) { readout.textContent = "No step yet."; return; }
  const k = run.step === null ? series.step.length - 1 : nearest(series.step, run.step);
  const next = k + 1 < series.step.length ? series.step[k + 1] - 1 : series.last[0];
  const where = next > series.step[k] ? `Steps ${whole(series.step[k])} to ${whole(next)}` : `Step ${whole(series.step[k])}`;
  const between = next > series.step[k] ? ` (${number(series.low[k])} to ${number(series.high[k])})` : "";
  const value = series.loss[k] === null ? "NaN" : number(series.loss[k]);
  const waited = series.waited[k] === null || !series.seconds[k] ? "" : ` (${percent(series.waited[k] / series.seconds[k])} waiting for data)`;
  readout.replaceChildren(`${where}: loss `, element("b", "", value), `${between}, gradient norm ${number(series.gradient_norm[k])}, learning rate ${number(series.lr[k])}, ${seconds(series.seconds[k] || 0)}${waited}`,
    ...sayEvaluations(training, next), saySpread(beside, next));
}

// The latest evaluation of each set, as of this step.
function sayEvaluations(training, step) {
  return training.heldOut.flatMap((one) => {
    const n = one.step.length;
    if (!n || one.step[0] > step + 1) return [];
    const k = nearest(one.step, step + 1);
    return [`; evaluation, ${one.name} `, element("b", "", one.value[k] === null ? "NaN" : number(one.value[k])), ` after ${whole(one.step[k])} steps`];
  });
}

function saySpread(beside, step) {
  const reach = ({ steps }) => 2 * steps[steps.length - 1] - (steps[steps.length - 2] || 0);
  const there = beside.filter((one) => one.steps.length && step <= reach(one)).map((one) => one.values[nearest(one.steps, step)]).filter((v) => v !== null && Number.isFinite(v));
  if (!there.length) return "";
  const low = Math.min(...there), high = Math.max(...there);
  return there.length === 1 ? `; in the other process ${number(low)}` : `; in the other ${there.length} processes ${number(low)} to ${number(high)}`;
}

function drawDepth(run, training, span) {
  const { map } = run, kind = QUANTITIES[run.quantity], columns = training.columns[run.quantity];
  const at = run.at === null ? columns.length - 1 : Math.min(run.at, columns.length - 1);
  const key = `${run.pick} ${run.quantity} ${columns.length} ${training.steps[columns.length - 1]}`;
  if (map.key !== key) Object.assign(map, { key, bounds: range(columns) });
  Object.assign(map, { columns, steps: training.steps, names: training[kind.of], at, layer: run.layer, colour: kind.colour, from: span.from, to: span.to });
  for (const button of run.find(".tabs").children) button.setAttribute("aria-pressed", String(button.dataset.quantity === run.quantity));
  run.find(".about").textContent = kind.about;
  const slider = run.find(".time input");
  slider.max = String(Math.max(0, columns.length - 1));
  slider.value = String(Math.max(0, at));
  slider.setAttribute("aria-valuetext", `step ${map.steps[at] ?? "none"}`);
  run.find(".follow").setAttribute("aria-pressed", String(run.at === null));
  drawMap(map);
  drawProfile(map);
  drawScale(map);
  sayDepth(run, map, kind);
}

function sayDepth(run, map, kind) {
  const readout = run.find(".deep .readout"), step = map.steps[map.at];
  if (step === undefined) { readout.textContent = "No step has been examined yet."; return; }
  const value = (codes, k) => (codes[k] === MISSING ? "not measured" : codes[k] === BROKEN ? "not finite" : codes[k] === 1 ? "0" : number(10 ** decade(codes[k])));
  const said = [element("b", "", `Step ${whole(step)}`), `, examination ${map.at + 1} of ${map.steps.length}. `];
  if (map.layer !== null && map.layer < map.names.length) {
    const name = map.names[map.layer] || "the model";
    said.push(`${kind.of === "layers" ? "Layer" : "Parameter"} ${map.layer + 1} of ${map.names.length}, `, element("b", "", name),
      `: ${kind.tab.toLowerCase()} ${value(map.columns[map.at], map.layer)}; at the first examination ${value(map.columns[0], map.layer)}.`);
  } else {
    const broken = map.columns[map.at].filter((code) => code === BROKEN).length;
    said.push(broken ? `${broken} of ${map.names.length} are not finite. ` : "", "Solid: this step; dashed: the first one. Point at a row to read it.");
  }
  readout.replaceChildren(...said);
}

function drawPanel(run, training, chart, i, span) {
  const { series } = training;
  let lines = [];
  const metric = run.metrics[i - (run.charts.length - run.metrics.length)];
  chart.bounds = null;
  if (i < PANELS.length) {
    const panel = PANELS[i];
    for (const [name, label, colour, dash] of panel.lines) {
      const scaled = panel.factor ? series[name].map((v) => (v === null ? null : v * panel.factor)) : series[name];
      if (scaled.some((v) => v !== null)) lines.push({ steps: series.step, values: scaled, label, colour, dash, sparse: panel.sparse });
    }
    chart.log = panel.log;
  } else if (i === PANELS.length) {
    lines = spreadOf(training);
    chart.log = true;
  } else if (!metric) {
    const share = series.waited.map((v, k) => (v === null || !series.seconds[k] ? null : 100 * v / series.seconds[k]));
    lines = [{ steps: series.step, values: share, label: "% of the time, inside of the data loader", colour: "spread" }];
    Object.assign(chart, { bounds: [0, 100], log: false });
  } else {
    lines = [{ steps: metric.step, values: metric.value, label: "as logged", colour: "spread", sparse: true }];
    chart.log = false;
  }
  Object.assign(chart, span, { lines });
  legend(chart.legend, lines.length ? lines : [{ label: "not measured" }]);
  drawCurves(chart);
}

// Lower tenth, middle and upper tenth of a column.
function spread(codes) {
  const sorted = Uint16Array.from(codes).sort();
  let first = 0, last = sorted.length;
  while (first < last && sorted[first] <= 1) first += 1;
  while (last > first && sorted[last - 1] === BROKEN) last -= 1;
  const at = (share) => (last > first ? 10 ** decade(sorted[first + Math.floor(share * (last - first - 1))]) : null);
  return [at(0.1), at(0.5), at(0.9)];
}

function spreadOf(training) {
  if (training.spread.every((parts) => parts[1] === null)) return [];
  const pick = (k) => training.spread.map((parts) => parts[k]);
  return [{ steps: training.steps, values: pick(1), low: pick(0), high: pick(2), colour: "spread", label: "middle of all parameters, and 8 in 10", sparse: true }];
}

function legend(place, lines) {
  const text = lines.map((line) => `${line.label}|${line.colour}|${line.dash}`).join();
  const scheme = matchMedia("(prefers-color-scheme: dark)").matches;
  if (place.dataset.shown === text + scheme) return;
  place.dataset.shown = text + scheme;
  place.replaceChildren(...lines.map((line) => {
    const item = element("span"), sample = element("canvas");
    item.append(sample, line.label);
    if (!line.colour) sample.remove();
    return item;
  }));
  [...place.querySelectorAll("canvas")].forEach((sample, i) => {
    const { ctx, width, height } = pen(sample), line = lines[i];
    ctx.strokeStyle = ctx.fillStyle = colours()[line.colour];
    ctx.globalAlpha = line.band ? 0.25 : 1;
    ctx.lineWidth = line.band ? height : 2;
    ctx.setLineDash(line.dash || []);
    ctx.beginPath();
    ctx.moveTo(0, height / 2);
    ctx.lineTo(width, height / 2);
    ctx.stroke();
  });
}

for (const box of document.querySelectorAll(".run")) startRun(box);
