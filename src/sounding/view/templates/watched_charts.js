// Drawing on canvas: axes, curves over steps, the map of layers and its section.
"use strict";

// Cividis: equally spaced for readers who see no red or no green. (Nuñez, Anderton, Renslow 2018)
const MAP = ["00224e", "123570", "3b496c", "575d6d", "707173", "8a8678", "a59c74", "c3b369", "e1cc55", "fee838"]
  .map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));

function mapColour(share) {
  const at = Math.max(0, Math.min(1, share)) * (MAP.length - 1);
  const low = Math.min(MAP.length - 2, Math.floor(at));
  return MAP[low].map((v, i) => Math.round(v + (MAP[low + 1][i] - v) * (at - low)));
}

const PALETTE = Array.from({ length: 256 }, (_, i) => mapColour(i / 255));

function colours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["surface", "ink", "muted", "line", "edge", "problem", "rms", "spread", "gradient", "activation", "weight"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

function pen(canvas) {
  const box = canvas.getBoundingClientRect(), sharp = window.devicePixelRatio || 1;
  const width = Math.round(box.width * sharp), height = Math.round(box.height * sharp);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const ctx = canvas.getContext("2d");
  ctx.setTransform(sharp, 0, 0, sharp, 0, 0);
  ctx.clearRect(0, 0, box.width, box.height);
  ctx.font = "12px system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif";
  ctx.textBaseline = "middle";
  return { ctx, width: box.width, height: box.height };
}

// -- numbers --------------------------------------------------------------------------------------

const RAISED = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
const power = (k) => (k === 0 ? "1" : `10${[...String(k)].map((c) => RAISED[c]).join("")}`);
const whole = (value) => (value || 0).toLocaleString("en-GB").replaceAll(",", "\u202f");

function number(value) {
  if (value === null || Number.isNaN(value)) return "not measured";
  if (!Number.isFinite(value)) return value > 0 ? "not finite" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e4) return String(Number(value.toPrecision(3)));
  const [digits, exponent] = value.toExponential(2).split("e");
  return `${Number(digits)} × ${power(Number(exponent))}`;
}

function seconds(value) {
  if (value < 1) return `${number(value * 1000)} ms`;
  if (value < 100) return `${number(value)} s`;
  const minutes = Math.round(value / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// -- axes -----------------------------------------------------------------------------------------

function ticks(low, high, most) {
  const rough = (high - low) / Math.max(1, most);
  const unit = 10 ** Math.floor(Math.log10(rough || 1));
  const step = [1, 2, 5, 10].map((k) => k * unit).find((k) => k >= rough) || 10 * unit;
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) found.push(at * step || 0);
  return found;
}

function logTicks(low, high, most) {
  const first = Math.ceil(low - 1e-9), last = Math.floor(high + 1e-9), every = Math.ceil((last - first + 1) / most) || 1;
  const found = [];
  if (last - first < 2) {
    for (let k = Math.floor(low); k <= high; k += 1) {
      for (const m of [1, 2, 5]) {
        const at = k + Math.log10(m);
        if (at >= low && at <= high) found.push([at, m === 1 ? power(k) : number(m * 10 ** k)]);
      }
    }
    if (found.length > 1) return found;
    return ticks(10 ** low, 10 ** high, most).filter((v) => v > 0).map((v) => [Math.log10(v), number(v)]);
  }
  for (let k = first; k <= last; k += 1) if ((k - first) % every === 0) found.push([k, power(k)]);
  return found;
}

// Smallest and largest value with a little room, as logarithms where the axis is logarithmic.
function extent(rows, log) {
  let low = Infinity, high = -Infinity;
  for (const row of rows) {
    for (const v of row) {
      if (v === null || !Number.isFinite(v) || (log && v <= 0)) continue;
      if (v < low) low = v;
      if (v > high) high = v;
    }
  }
  if (low > high) return [0, 1];
  if (log) [low, high] = [Math.log10(low), Math.log10(high)];
  const flat = high - low < 1e-9 * Math.max(1, Math.abs(high));
  const room = flat ? (log ? 0.3 : Math.abs(high) * 0.1 || 1) : (high - low) * 0.06;
  return [low - room, high + room];
}

// -- curves over steps ----------------------------------------------------------------------------

// What a chart needs to know: canvas, lines [{steps, values, low, high, colour, dash, label}], log,
// from and to (steps), at (the step of the cursor) and unit (of the values, for the axis).
function drawCurves(chart) {
  const { ctx, width, height } = pen(chart.canvas), c = colours();
  const right = width - 10, top = 8, bottom = height - 24;
  const shown = chart.lines.map((line) => inside(line, chart.from, chart.to));
  const positive = shown.every((line) => line.values.every((v) => v === null || !(v <= 0)));
  const log = chart.log && positive;
  const [low, high] = chart.bounds || extent(shown.flatMap((l) => [l.values, l.low || [], l.high || []]), log);
  const y = (v) => bottom - (bottom - top) * ((log ? Math.log10(v) : v) - low) / (high - low);
  const marks = log ? logTicks(low, high, Math.max(2, height / 40)).map(([v, label]) => [v, label.replace(" × ", "×")])
    : ticks(low, high, Math.max(2, height / 45)).map((v) => [v, number(v).replace(" × ", "×")]);
  const left = Math.max(54, ...marks.map(([, label]) => Math.ceil(ctx.measureText(label).width) + 10));
  const x = (step) => left + (right - left) * (step - chart.from) / Math.max(1, chart.to - chart.from);
  ctx.strokeStyle = c.line;
  ctx.fillStyle = c.muted;
  ctx.textAlign = "right";
  for (const [at, label] of marks) {
    const place = bottom - (bottom - top) * (at - low) / (high - low);
    ctx.beginPath();
    ctx.moveTo(left, place);
    ctx.lineTo(right, place);
    ctx.stroke();
    ctx.fillText(label, left - 6, place);
  }
  stepAxis(ctx, chart, { left, right, bottom, x, c });
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top - 4, right - left, bottom - top + 8);
  ctx.clip();
  for (const line of shown) drawLine(ctx, line, x, y, c, log, top);
  drawCursor(ctx, chart.at, x, top, bottom, c);
  ctx.restore();
  chart.stepAt = (px) => chart.from + (px - left) / (right - left) * (chart.to - chart.from);
}

function stepAxis(ctx, range, { left, right, bottom, x, c }) {
  ctx.strokeStyle = c.edge;
  ctx.beginPath();
  ctx.moveTo(left, bottom + 0.5);
  ctx.lineTo(right, bottom + 0.5);
  ctx.stroke();
  ctx.fillStyle = c.muted;
  ctx.textAlign = "center";
  let end = -Infinity;
  const unit = ctx.measureText("step").width + 10;
  ctx.fillText("step", right - unit / 2 + 5, bottom + 13);
  for (const step of ticks(range.from, range.to, (right - left) / 90)) {
    if (step % 1) continue;
    const label = whole(step), half = ctx.measureText(label).width / 2;
    const place = x(step);
    if (place - half < end + 8 || place + half > right - unit) continue;
    ctx.fillText(label, place, bottom + 13);
    end = place + half;
  }
}

function inside(line, from, to) {
  const n = line.steps.length;
  let first = 0, last = n;
  while (first < n - 1 && line.steps[first + 1] <= from) first += 1;
  while (last > first + 1 && line.steps[last - 1] > to) last -= 1;
  const cut = (values) => values && values.slice(first, last);
  return { ...line, steps: line.steps.slice(first, last), values: cut(line.values), low: cut(line.low), high: cut(line.high) };
}

function drawLine(ctx, line, x, y, c, log, top) {
  const good = (v) => v !== null && Number.isFinite(v) && (!log || v > 0);
  const colour = c[line.colour];
  if (line.low && line.high) {
    ctx.fillStyle = colour;
    ctx.globalAlpha = 0.18;
    ctx.beginPath();
    line.steps.forEach((s, i) => { if (good(line.high[i])) ctx.lineTo(x(s), y(line.high[i])); });
    for (let i = line.steps.length - 1; i >= 0; i -= 1) if (good(line.low[i])) ctx.lineTo(x(line.steps[i]), y(line.low[i]));
    ctx.fill();
    ctx.globalAlpha = 1;
  }
  ctx.strokeStyle = colour;
  ctx.lineWidth = line.thin ? 1 : 1.6;
  ctx.globalAlpha = line.thin ? 0.7 : 1;
  ctx.setLineDash(line.dash || []);
  ctx.beginPath();
  let open = false, sparse = 0;
  line.steps.forEach((s, i) => {
    const v = line.values[i];
    if (good(v)) {
      if (open) ctx.lineTo(x(s), y(v)); else ctx.moveTo(x(s), y(v));
      open = true;
      sparse += 1;
    } else if (!line.sparse) open = false;
  });
  ctx.stroke();
  ctx.globalAlpha = 1;
  ctx.setLineDash([]);
  if (sparse && !line.thin && sparse < (line.sparse ? 150 : 40)) {
    ctx.fillStyle = colour;
    line.steps.forEach((s, i) => {
      if (good(line.values[i])) { ctx.beginPath(); ctx.arc(x(s), y(line.values[i]), 2, 0, 7); ctx.fill(); }
    });
  }
  drawBroken(ctx, line, x, c, top);
  ctx.lineWidth = 1;
}

// Crosses at the top where a value was NaN or infinite.
function drawBroken(ctx, line, x, c, top) {
  if (!line.broken) return;
  ctx.strokeStyle = c.problem;
  ctx.lineWidth = 1.6;
  let last = -Infinity;
  line.steps.forEach((s, i) => {
    const place = x(s);
    const bad = (line.high || line.values)[i];
    if ((bad === null || !Number.isFinite(bad)) && place - last > 9) {
      last = place;
      ctx.beginPath();
      ctx.moveTo(place - 3, top);
      ctx.lineTo(place + 3, top + 6);
      ctx.moveTo(place + 3, top);
      ctx.lineTo(place - 3, top + 6);
      ctx.stroke();
    }
  });
}

function drawCursor(ctx, step, x, top, bottom, c) {
  if (step === null || step === undefined) return;
  ctx.strokeStyle = c.ink;
  ctx.globalAlpha = 0.6;
  ctx.beginPath();
  ctx.moveTo(Math.round(x(step)) + 0.5, top - 4);
  ctx.lineTo(Math.round(x(step)) + 0.5, bottom);
  ctx.stroke();
  ctx.globalAlpha = 1;
}

// -- the map: layers downwards, steps to the right ------------------------------------------------

const MISSING = 0, BROKEN = 65535, decade = (code) => (code - 1) / 65533 * 40 - 20;

function range(columns) {
  let low = Infinity, high = -Infinity;
  for (const codes of columns) {
    for (const code of codes) {
      if (code > 1 && code < BROKEN) {
        if (code < low) low = code;
        if (code > high) high = code;
      }
    }
  }
  if (low > high) return [-1, 1];
  const bounds = [decade(low), decade(high)];
  return bounds[1] - bounds[0] < 0.2 ? [bounds[0] - 0.1, bounds[1] + 0.1] : bounds;
}

// One pixel a layer, or the mean of several where there are more layers than pixels; a value that
// is not finite is never averaged away.
function pixels(columns, rows, c, [low, high]) {
  const image = new ImageData(columns.length, rows), bad = rgb(c.problem), out = image.data;
  const palette = PALETTE;
  const layers = columns[0].length, scale = 255 / (high - low);
  columns.forEach((codes, column) => {
    for (let row = 0; row < rows; row += 1) {
      const first = Math.floor(row * layers / rows), last = Math.max(first + 1, Math.floor((row + 1) * layers / rows));
      let sum = 0, count = 0, broken = false;
      for (let k = first; k < last; k += 1) {
        if (codes[k] === BROKEN) broken = true;
        else if (codes[k] !== MISSING) { sum += codes[k]; count += 1; }
      }
      if (!broken && !count) continue;
      const at = Math.max(0, Math.min(255, Math.round((decade(sum / count) - low) * scale)));
      const [r, g, b] = broken ? bad : palette[at], place = 4 * (row * columns.length + column);
      out[place] = r; out[place + 1] = g; out[place + 2] = b; out[place + 3] = 255;
    }
  });
  return image;
}

function rgb(colour) {
  const one = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  one.fillStyle = colour;
  one.fillRect(0, 0, 1, 1);
  return [...one.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}

const FRAME = { left: 54, top: 8, below: 24 };

function drawMap(view) {
  const { ctx, width, height } = pen(view.heat), c = colours();
  const { left, top } = FRAME, right = width - 2, bottom = height - FRAME.below;
  const x = (step) => left + (right - left) * (step - view.from) / Math.max(1, view.to - view.from);
  if (view.columns.length && view.names.length) {
    const rows = Math.max(1, Math.min(view.names.length, Math.round(bottom - top)));
    const off = view.off || (view.off = document.createElement("canvas"));
    const drawn = `${view.key} ${rows} ${c.problem}`;
    if (view.drawn !== drawn) {
      view.drawn = drawn;
      off.width = view.columns.length;
      off.height = rows;
      off.getContext("2d").putImageData(pixels(view.columns, rows, c, view.bounds), 0, 0);
    }
    ctx.imageSmoothingEnabled = false;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, right - left, bottom - top);
    ctx.clip();
    view.steps.forEach((step, i) => {
      const begin = Math.floor(x(step));
      const end = Math.ceil(i + 1 < view.steps.length ? x(view.steps[i + 1]) : right);
      if (end > left && begin < right) ctx.drawImage(off, i, 0, 1, rows, begin, top, Math.max(1.5, end - begin), bottom - top);
    });
    const at = view.steps[view.at];
    if (at !== undefined) {
      ctx.strokeStyle = "#fff";
      ctx.lineWidth = 3;
      for (const colour of ["#fff", "#000"]) {
        ctx.strokeStyle = colour;
        ctx.strokeRect(Math.round(x(at)) + 0.5, top - 3, 0.01, bottom - top + 6);
        ctx.lineWidth = 1;
      }
    }
    if (view.layer !== null) {
      const y = top + (view.layer + 0.5) / view.names.length * (bottom - top);
      ctx.strokeStyle = "#fff";
      ctx.globalAlpha = 0.8;
      ctx.beginPath();
      ctx.moveTo(left, y);
      ctx.lineTo(right, y);
      ctx.stroke();
    }
    ctx.restore();
  }
  layerAxis(ctx, view.names.length, { left, top, bottom, c });
  stepAxis(ctx, view, { left, right, bottom, x, c });
  view.place = { left, right, top, bottom };
}

function layerAxis(ctx, count, { left, top, bottom, c }) {
  ctx.fillStyle = c.muted;
  ctx.textAlign = "right";
  const every = Math.max(1, Math.ceil(count / ((bottom - top) / 18)));
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find((k) => k >= every) || every;
  for (let k = 0; k < count; k += 1) {
    if ((k + 1) % step && k !== 0) continue;
    if (k === 0 && step > 1 && count > step && step * (bottom - top) / count < 18) continue;
    ctx.fillText(String(k + 1), left - 6, top + (k + 0.5) / count * (bottom - top));
  }
  ctx.save();
  ctx.translate(8, (top + bottom) / 2);
  ctx.rotate(-Math.PI / 2);
  ctx.textAlign = "center";
  ctx.restore();
}

// The section through the map at the chosen step, beside the first one; same rows, so that a layer
// lies at the same height in both.
function drawProfile(view) {
  const { ctx, width, height } = pen(view.profile), c = colours();
  const { top } = FRAME, left = 8, right = width - 8, bottom = height - FRAME.below;
  const [low, high] = view.bounds, room = (high - low) * 0.05;
  const x = (v) => left + (right - left) * (v - low + room) / (high - low + 2 * room);
  const y = (k) => top + (k + 0.5) / view.names.length * (bottom - top);
  ctx.textAlign = "center";
  for (const [at, label] of logTicks(low - room, high + room, width / 60)) {
    ctx.strokeStyle = c.line;
    ctx.beginPath();
    ctx.moveTo(x(at), top);
    ctx.lineTo(x(at), bottom);
    ctx.stroke();
    ctx.fillStyle = c.muted;
    ctx.fillText(label, Math.max(14, Math.min(width - 16, x(at))), bottom + 13);
  }
  if (!view.columns.length) return;
  section(ctx, view.columns[0], x, y, { colour: c.edge, dash: [4, 3], c });
  section(ctx, view.columns[view.at] || [], x, y, { colour: c[view.colour], dash: [], c, dots: view.names.length <= 60 });
  if (view.layer !== null) {
    ctx.strokeStyle = c.ink;
    ctx.globalAlpha = 0.5;
    ctx.beginPath();
    ctx.moveTo(left, y(view.layer));
    ctx.lineTo(right, y(view.layer));
    ctx.stroke();
    ctx.globalAlpha = 1;
  }
}

function section(ctx, codes, x, y, { colour, dash, c, dots }) {
  ctx.strokeStyle = colour;
  ctx.lineWidth = dash.length ? 1.2 : 1.8;
  ctx.setLineDash(dash);
  ctx.beginPath();
  let open = false;
  codes.forEach((code, k) => {
    if (code <= 1 || code === BROKEN) { open = false; return; }
    if (open) ctx.lineTo(x(decade(code)), y(k)); else ctx.moveTo(x(decade(code)), y(k));
    open = true;
  });
  ctx.stroke();
  ctx.setLineDash([]);
  ctx.lineWidth = 1;
  codes.forEach((code, k) => {
    if (code === BROKEN && !dash.length) {
      ctx.fillStyle = c.problem;
      ctx.fillRect(ctx.canvas.getBoundingClientRect().width - 14, y(k) - 2, 8, 4);
    } else if (dots && code > 1 && !dash.length) {
      ctx.fillStyle = colour;
      ctx.beginPath();
      ctx.arc(x(decade(code)), y(k), 3, 0, 7);
      ctx.fill();
    }
  });
}

function drawScale(view) {
  const { ctx, width } = pen(view.bar), c = colours(), left = 8, right = width - 8;
  const [low, high] = view.bounds;
  for (let px = left; px < right; px += 1) {
    ctx.fillStyle = `rgb(${mapColour((px - left) / (right - left)).join(" ")})`;
    ctx.fillRect(px, 2, 1.5, 11);
  }
  ctx.fillStyle = c.muted;
  ctx.textAlign = "center";
  for (const [at, label] of logTicks(low, high, width / 55)) {
    ctx.fillText(label, Math.max(left + 8, Math.min(right - 10, left + (right - left) * (at - low) / (high - low))), 24);
  }
}
