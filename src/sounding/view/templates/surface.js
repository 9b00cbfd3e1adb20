// A surface that can be turned, painted from back to front on a canvas; the map below says the same.

function startRelief(box) {
  const data = JSON.parse(box.querySelector("script.data").textContent);
  const canvas = box.querySelector("canvas");
  const readout = box.querySelector(".readout");
  const [xs, ys] = data.axes;
  const rgb = data.colours.map((c) => [1, 3, 5].map((k) => parseInt(c.slice(k, k + 2), 16)));
  const START = { turn: -0.65, tilt: 0.52, zoom: 1 };
  let view = { ...START }, wanted = false;

  const across = (v) => 2 * (v - xs[0]) / (xs[xs.length - 1] - xs[0]) - 1;
  const along = (v) => 2 * (v - ys[0]) / (ys[ys.length - 1] - ys[0]) - 1;
  const height = (place) => 1.05 * place - 0.5;

  function shade(place, light) {
    const at = Math.min(Math.max(place, 0), 1) * (rgb.length - 1);
    const i = Math.min(Math.floor(at), rgb.length - 2);
    return `rgb(${rgb[i].map((a, k) => Math.round(light * (a + (at - i) * (rgb[i + 1][k] - a))))
      .join(" ")})`;
  }

  function projection() {
    const frame = canvas.getBoundingClientRect();
    const s = Math.sin(view.turn), c = Math.cos(view.turn);
    const sin = Math.sin(view.tilt), cos = Math.cos(view.tilt);
    const size = Math.min((frame.width / 2 - 45) * 0.64, frame.height * 0.365) * view.zoom;
    return (x, y, z) => {
      const a = c * x - s * y, b = s * x + c * y;
      const depth = cos * b - sin * z, up = sin * b + cos * z;
      const near = 5.2 / (5.2 + depth);
      return [frame.width / 2 + size * a * near, frame.height * 0.44 - size * up * near, depth];
    };
  }

  function cells(at) {
    const found = [];
    for (let i = 0; i + 1 < xs.length; i++) {
      for (let j = 0; j + 1 < ys.length; j++) {
        const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
        const places = corners.map(([k, l]) => data.places[k][l]);
        if (places.includes(null)) continue;
        const flat = corners.map(([k, l], n) => [across(xs[k]), along(ys[l]), height(places[n])]);
        const points = flat.map((p) => at(...p));
        const mean = (f) => f.reduce((a, b) => a + b, 0) / 4;
        const [p, q, r, t] = flat;
        const u = r.map((v, k) => v - p[k]), w = t.map((v, k) => v - q[k]);
        const n = [u[1] * w[2] - u[2] * w[1], u[2] * w[0] - u[0] * w[2], u[0] * w[1] - u[1] * w[0]];
        const light = (0.25 * n[0] - 0.35 * n[1] + 0.9 * n[2]) / Math.hypot(...n);
        found.push({ points, depth: mean(points.map((v) => v[2])), place: mean(places),
          light: 0.68 + 0.32 * Math.max(0, light) });
      }
    }
    return found.sort((a, b) => b.depth - a.depth);
  }

  function trace(pen, points) {
    pen.beginPath();
    points.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  }

  function paintFrame(pen, at, look) {
    pen.strokeStyle = look("--edge");
    pen.lineWidth = 1;
    const floor = [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([x, y]) => at(x, y, height(0)));
    trace(pen, [...floor, floor[0]]);
    pen.stroke();
    const walls = [[-1, -1], [1, -1], [1, 1], [-1, 1]];
    const left = walls.reduce((a, b) => (at(...a, 0)[0] < at(...b, 0)[0] ? a : b));
    trace(pen, [at(...left, height(0)), at(...left, height(1))]);
    pen.stroke();
    pen.fillStyle = look("--ink");
    pen.textAlign = "right";
    for (const [place, label] of data.ticks) {
      const [x, y] = at(...left, height(place));
      trace(pen, [[x - 4, y], [x, y]]);
      pen.stroke();
      pen.fillText(label, x - 7, y + 4);
    }
    pen.fillText(data.scale, Math.max(at(...left, height(1))[0] + 30, pen.measureText(data.scale).width + 4),
      at(...left, height(1))[1] - 14);
    nameEdges(pen, at);
  }

  function nameEdges(pen, at) {
    const width = canvas.getBoundingClientRect().width;
    const short = (v) => String(Number(v.toPrecision(3))).replace("-", "−");
    for (const [k, axis] of data.axes.entries()) {
      const place = (u, side) => (k ? at(side, u, height(0)) : at(u, side, height(0)));
      const side = place(0, 1)[2] < place(0, -1)[2] ? 1 : -1;
      const middle = place(0, side);
      const rightwards = middle[0] > width / 2;
      for (const [u, v] of [[-1, axis[0]], [1, axis[axis.length - 1]]]) {
        const [x, y] = place(0.86 * u, side * 1.1);
        pen.textAlign = "center";
        pen.fillText(short(v), x, y + 9);
      }
      const [x, y] = place(0, side * 1.16);
      pen.textAlign = rightwards ? "left" : "right";
      const room = (rightwards ? width - x : x) - 10;
      let said = data.names[k].split(/[,;(]/)[0].trim();
      while (said.length > 4 && pen.measureText(said).width > room) said = `${said.slice(0, -2)}…`;
      pen.fillText(said, x + (rightwards ? 6 : -6), y + 14);
    }
  }

  function paintMarks(pen, at, look) {
    const seen = data.path.filter((p) => p[2] !== null);
    const lifted = seen.map(([x, y, p]) => at(across(x), along(y), height(p) + 0.02));
    if (lifted.length) {
      for (const [colour, width] of [["#000", 4], ["#fff", 2]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = width;
        trace(pen, lifted);
        pen.stroke();
      }
      for (const [x, y] of lifted) dot(pen, x, y, 2.6);
    }
    const [x, y, p] = data.centre;
    if (p !== null && x >= xs[0] && y >= ys[0]) star(pen, ...at(across(x), along(y), height(p) + 0.02));
  }

  function dot(pen, x, y, size) {
    pen.beginPath();
    pen.arc(x, y, size, 0, 7);
    pen.fillStyle = "#fff";
    pen.strokeStyle = "#000";
    pen.lineWidth = 1;
    pen.fill();
    pen.stroke();
  }

  function star(pen, x, y) {
    pen.beginPath();
    for (let k = 0; k < 10; k++) {
      const r = k % 2 ? 3.4 : 8, a = Math.PI * (k / 5 - 0.5);
      pen[k ? "lineTo" : "moveTo"](x + r * Math.cos(a), y + r * Math.sin(a));
    }
    pen.closePath();
    pen.fillStyle = "#fff";
    pen.strokeStyle = "#000";
    pen.lineWidth = 1.3;
    pen.fill();
    pen.stroke();
  }

  function paint() {
    wanted = false;
    const ratio = window.devicePixelRatio || 1, frame = canvas.getBoundingClientRect();
    if (!frame.width) return;
    canvas.width = Math.round(frame.width * ratio);
    canvas.height = Math.round(frame.height * ratio);
    const pen = canvas.getContext("2d"), style = getComputedStyle(box);
    const look = (name) => style.getPropertyValue(name).trim();
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.font = "12px system-ui, sans-serif";
    pen.lineJoin = "round";
    const at = projection();
    paintFrame(pen, at, look);
    for (const cell of cells(at)) {
      trace(pen, cell.points);
      pen.closePath();
      pen.fillStyle = pen.strokeStyle = shade(cell.place, cell.light);
      pen.lineWidth = 0.8;
      pen.fill();
      pen.stroke();
      pen.strokeStyle = "rgb(0 0 0 / .22)";
      pen.lineWidth = 0.5;
      pen.stroke();
    }
    paintMarks(pen, at, look);
    canvas.dataset.view = [view.turn, view.tilt, view.zoom].map((v) => v.toFixed(2)).join(" ");
  }

  function repaint(change) {
    view = { ...view, ...change };
    view.tilt = Math.min(Math.max(view.tilt, 0.08), 1.5);
    view.zoom = Math.min(Math.max(view.zoom, 0.4), 4);
    if (!wanted) {
      wanted = true;
      requestAnimationFrame(paint);
    }
  }

  const keys = { ArrowLeft: { turn: -0.1 }, ArrowRight: { turn: 0.1 }, ArrowUp: { tilt: 0.08 },
    ArrowDown: { tilt: -0.08 }, "+": { zoom: 0.1 }, "=": { zoom: 0.1 }, "-": { zoom: -0.1 } };
  canvas.addEventListener("keydown", (event) => {
    const by = keys[event.key];
    if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const [name, step] = Object.entries(by)[0];
    repaint({ [name]: view[name] + step });
  });
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (!event.buttons) return;
    repaint({ turn: view.turn + event.movementX / 160, tilt: view.tilt + event.movementY / 220 });
  });
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas) return;  // the page scrolls until it is asked to zoom
    event.preventDefault();
    repaint({ zoom: view.zoom * Math.exp(-event.deltaY / 700) });
  }, { passive: false });
  canvas.addEventListener("dblclick", () => repaint(START));
  canvas.hidden = false;
  box.querySelector(".hidden-until-drawn").hidden = false;
  new ResizeObserver(() => repaint({})).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => repaint({}));
  startMap(box, data, readout);
}

function startMap(box, data, readout) {
  const nearest = (axis, v) => axis.reduce((a, b, k) => (Math.abs(b - v) < Math.abs(axis[a] - v) ? k : a), 0);
  const shown = (v) => String(v).replace("-", "−");
  readout.hidden = false;
  readout.textContent = "Point at the map to read a loss.";
  for (const svg of box.querySelectorAll("svg.relief-map")) {
    const [left, right] = svg.dataset.x.split(" ").map(Number);
    const [bottom, top] = svg.dataset.y.split(" ").map(Number);
    svg.addEventListener("pointermove", (event) => {
      const frame = svg.getBoundingClientRect();
      const scale = svg.viewBox.baseVal.width / frame.width;
      const u = ((event.clientX - frame.left) * scale - left) / (right - left);
      const v = ((event.clientY - frame.top) * scale - bottom) / (top - bottom);
      if (u < 0 || u > 1 || v < 0 || v > 1) return;
      const [xs, ys] = data.axes;
      const i = nearest(xs, xs[0] + u * (xs[xs.length - 1] - xs[0]));
      const j = nearest(ys, ys[0] + v * (ys[ys.length - 1] - ys[0]));
      const said = document.createElement("b");
      said.textContent = data.losses[i][j] || "not measured";
      readout.replaceChildren(`At ${shown(xs[i])} along the first axis and ${shown(ys[j])} along the second the loss is `, said, ".");
    });
  }
}

for (const box of document.querySelectorAll(".relief")) startRelief(box);
