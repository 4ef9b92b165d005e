const canvas = find("canvas"), pen = canvas.getContext("2d"), said = find(".pt-said");
const brush = find(".pt-brush input"), undo = find("[data-act=undo]"), clear = find("[data-act=clear]");
const COLOURS = ["#ffffff", "#c8c4bc", "#8c8880", "#4c4844", "#141210", "#e8b878", "#c8742c", "#6b4423", "#e79a9a",
  "#d9443f", "#8fae5a", "#3e7a45", "#7fb2dd", "#2f5f9e"];
const GREYS = ["#ffffff", "#d0d0d0", "#a0a0a0", "#707070", "#404040", "#000000"];
let grid = [32, 32], cells = new Map(), past = [], tool = "paint", colour = COLOURS[0], palette = "";
let picture = [], cursor = null, keyed = false, stroke = false, last = null;

const six = (value, index) => "#" + value.substr(6 * index, 6);
const number = (x, y) => y * grid[0] + x;

function load() {
  const value = props.value || { grid: grid, cells: [], colours: "" };
  if (String(grid) !== String(value.grid)) past = [];
  grid = value.grid;
  cells = new Map(value.cells.map((cell, index) => [cell, six(value.colours, index)]));
  const text = props.picture || "";
  picture = Array.from({ length: text.length / 6 }, (_, index) => six(text, index));
  find("[data-tool=reveal]").hidden = !picture.length;
  if (tool === "reveal" && !picture.length) choose("paint");
  const wanted = props.channels === 1 ? GREYS : COLOURS;
  if (palette !== String(wanted)) fillPalette(wanted);
  draw();
}

function fillPalette(colours) {
  palette = String(colours);
  const box = find(".pt-palette");
  box.replaceChildren(...colours.map((each) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "pt-swatch";
    button.style.background = each;
    button.title = button.ariaLabel = "Colour " + each;
    button.addEventListener("click", () => pick(each));
    return button;
  }));
  const own = document.createElement("input");
  own.type = "color";
  own.className = "pt-swatch";
  own.title = own.ariaLabel = "Another colour";
  own.value = "#b08060";
  own.addEventListener("input", () => pick(own.value));
  box.append(own);
  pick(colours[0]);
}

function pick(each) {
  colour = each;
  for (const swatch of element.querySelectorAll("button.pt-swatch"))
    swatch.ariaPressed = swatch.ariaLabel === "Colour " + each;
  if (tool !== "paint") choose("paint");
}

function choose(name) {
  tool = name;
  for (const button of element.querySelectorAll("[data-tool]")) button.ariaPressed = button.dataset.tool === name;
  draw();
}

function draw() {
  const [w, h] = grid, side = canvas.width / w, tall = canvas.height / h;
  const box = (x, y) => [Math.round(x * side), Math.round(y * tall),
    Math.round((x + 1) * side) - Math.round(x * side), Math.round((y + 1) * tall) - Math.round(y * tall)];
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) {
    const known = cells.get(number(x, y));
    pen.fillStyle = known || ((x + y) % 2 ? "#292e3d" : "#383f52");
    pen.fillRect(...box(x, y));
    if (!known && tool === "reveal" && picture.length) {
      pen.globalAlpha = 0.3;
      pen.fillStyle = picture[number(x, y)];
      pen.fillRect(...box(x, y));
      pen.globalAlpha = 1;
    }
  }
  if (props.mark >= 0) {
    const x = props.mark % w, y = Math.floor(props.mark / w), [left, top, wide, high] = box(x, y);
    for (const [width, style] of [[7, "#000"], [3.5, "#ff4fd8"]]) {
      pen.lineWidth = width;
      pen.strokeStyle = style;
      pen.beginPath();
      pen.arc(left + wide / 2, top + high / 2, side * 1.6, 0, 7);
      pen.stroke();
    }
  }
  if (cursor) {
    const [low, high] = reach();
    pen.lineWidth = 2;
    pen.strokeStyle = keyed ? "#ffd23f" : "rgba(255,255,255,.75)";
    pen.strokeRect((cursor[0] + low) * side, (cursor[1] + low) * tall, (high - low) * side, (high - low) * tall);
  }
  undo.disabled = !past.length;
  clear.disabled = !cells.size;
}

function reach() {
  const size = Number(brush.value), low = -Math.floor((size - 1) / 2);
  return [low, low + size];
}

function dab([cx, cy]) {
  const [low, high] = reach();
  for (let y = cy + low; y < cy + high; y++) for (let x = cx + low; x < cx + high; x++) {
    if (x < 0 || y < 0 || x >= grid[0] || y >= grid[1]) continue;
    const cell = number(x, y);
    if (tool === "erase") cells.delete(cell);
    else cells.set(cell, tool === "reveal" ? picture[cell] : colour);
  }
}

function line(from, to) {
  const steps = Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]), 1);
  for (let step = 0; step <= steps; step++)
    dab([0, 1].map((axis) => Math.round(from[axis] + (to[axis] - from[axis]) * step / steps)));
}

const settle = later(450, () => trigger("settle"));
let queued = false;
function changed() {
  draw();
  settle();
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    const known = [...cells.keys()];
    props.value = { grid: grid, cells: known, colours: known.map((cell) => cells.get(cell).slice(1)).join("") };
    trigger("input");
  });
}

function remember() {
  past.push(new Map(cells));
  if (past.length > 60) past.shift();
}

function at(event) {
  const box = canvas.getBoundingClientRect();
  const inside = (value, count) => Math.min(count - 1, Math.max(0, Math.floor(value * count)));
  return [inside((event.clientX - box.left) / box.width, grid[0]), inside((event.clientY - box.top) / box.height, grid[1])];
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  event.preventDefault();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  remember();
  stroke = true;
  keyed = false;
  cursor = last = at(event);
  dab(last);
  changed();
});
canvas.addEventListener("pointermove", (event) => {
  const here = at(event);
  const moved = String(here) !== String(cursor);
  cursor = here;
  keyed = false;
  if (stroke) {
    for (const each of event.getCoalescedEvents?.() || [event]) {
      const next = at(each);
      line(last, next);
      last = next;
    }
    if (moved) changed();
  } else if (moved) draw();
});
for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { stroke = false; });
for (const name of ["pointerleave", "blur"])
  canvas.addEventListener(name, () => { if (!stroke) { cursor = null; draw(); } });

canvas.addEventListener("keydown", (event) => {
  const key = event.key, middle = [grid[0] >> 1, grid[1] >> 1];
  if (ARROWS[key]) {
    cursor = cursor || middle;
    cursor = cursor.map((value, axis) => Math.min(grid[axis] - 1, Math.max(0, value + ARROWS[key][axis])));
    const known = cells.get(number(...cursor));
    said.textContent = "Column " + (cursor[0] + 1) + ", row " + (cursor[1] + 1) + ", " + (known || "not observed");
  } else if (key === " " || key === "Enter") {
    cursor = cursor || middle;
    remember();
    dab(cursor);
    changed();
  } else if (key === "Delete" || key === "Backspace") {
    cursor = cursor || middle;
    remember();
    cells.delete(number(...cursor));
    changed();
  } else if (key === "z" && (event.ctrlKey || event.metaKey)) back();
  else if (key === "p") choose("paint");
  else if (key === "e") choose("erase");
  else if (key === "r" && picture.length) choose("reveal");
  else return;
  keyed = true;
  event.preventDefault();
  draw();
});

function back() {
  if (!past.length) return;
  cells = past.pop();
  changed();
}
undo.addEventListener("click", back);
clear.addEventListener("click", () => { remember(); cells = new Map(); changed(); });
for (const button of element.querySelectorAll("[data-tool]"))
  button.addEventListener("click", () => choose(button.dataset.tool));
brush.addEventListener("input", () => { find(".pt-brush output").textContent = brush.value; });
watch(["value", "picture", "channels", "mark"], load);
load();
