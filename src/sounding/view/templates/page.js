// The page works without this; it adds a cursor to the depth charts and buttons that copy code.
"use strict";

function startInstrument(box) {
  const rows = JSON.parse(box.querySelector("script.data").textContent);
  const readout = box.querySelector(".readout");
  let at = -1;

  function show(k) {
    at = Math.max(0, Math.min(rows.length - 1, k));
    for (const svg of box.querySelectorAll("svg.chart")) {
      const left = Number(svg.dataset.left), right = Number(svg.dataset.right);
      const x = left + (right - left) * (at + 0.5) / rows.length;
      const line = svg.querySelector(".cursor");
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
      line.setAttribute("visibility", "visible");
    }
    say(rows[at]);
  }

  function say(row) {
    const name = document.createElement("b");
    name.textContent = row.layer;
    readout.replaceChildren(`Layer ${at + 1} of ${rows.length}, `, name, ": ");
    const cells = row.cells.map(([label, value, predicted]) =>
      `${label} ${value}${predicted ? ` (predicted ${predicted})` : ""}`);
    readout.append(cells.join(", ") + (row.step ? `; ${row.step}` : "") + ".");
  }

  function layerUnder(event) {
    const svg = [...box.querySelectorAll("svg.chart")].find((s) => s.getBoundingClientRect().width);
    const frame = svg.getBoundingClientRect();
    const x = (event.clientX - frame.left) * svg.viewBox.baseVal.width / frame.width;
    const left = Number(svg.dataset.left), right = Number(svg.dataset.right);
    return Math.floor((x - left) / (right - left) * rows.length);
  }

  const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: -10, PageDown: 10,
    Home: -Infinity, End: Infinity };
  box.tabIndex = 0;
  box.setAttribute("role", "application");
  box.setAttribute("aria-label", "Depth chart. Arrow keys move from layer to layer.");
  readout.hidden = false;
  readout.textContent = "Point at a layer, or press the arrow keys, to read its numbers.";
  box.addEventListener("keydown", (event) => {
    if (event.key in moves && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      show(at < 0 ? (moves[event.key] > 1e9 ? rows.length - 1 : 0) : at + moves[event.key]);
    }
  });
  box.addEventListener("pointermove", (event) => {
    const k = layerUnder(event);
    if (k !== at && k >= 0 && k < rows.length) show(k);
  });
  box.addEventListener("pointerdown", (event) => show(layerUnder(event)));
}

function addCopyButton(block) {
  const button = document.createElement("button");
  const pre = block.querySelector("pre");
  button.type = "button";
  button.textContent = "Copy";
  block.classList.add("copyable");
  block.append(button);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(pre.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(pre);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

for (const box of document.querySelectorAll(".instrument")) startInstrument(box);
for (const block of document.querySelectorAll(".code")) addCopyButton(block);
