const canvas = find("canvas"), pen = canvas.getContext("2d"), said = find(".pt-said");
const brush = find(".pt-brush input"), undo = find("[data-act=undo]"), clear = find("[data-act=clear]");
const COLOURS = ["#ffffff", "#c8c4bc", "#8c8880", "#4c4844", "#141210", "#e8b878", "#c8742c", "#6b4423", "#e79a9a",
  "#d9443f", "#8fae5a", "#3e7a45", "#7fb2dd", "#2f5f9e"];
const GREYS = ["#ffffff", "#d0d0d0", "#a0a0a0", "#707070", "#404040", "#000000"];
let grid = [32, 32], cells = new Map(), past = [], tool = "paint", colour = COLOURS[0], palette = "";
let dabs = new Map(), stamped = null, largest = 0;  // dabs by "left,top,side"; the place of a stroke's last one
let picture = [], cursor = null, keyed = false, stroke = false, last = null;

const six = (value, index) => "#" + value.substr(6 * index, 6);
const number = (x, y) => y * grid[0] + x;
const square = (key) => key.split(",").map(Number);
const within = (x, y, [left, top, side]) => x > left && y > top && x < left + side && y < top + side;
const middle = ([left, top, side]) => [left + side / 2, top + side / 2];

function load() {
  const value = props.value || { grid: grid, cells: [], colours: "" };
  if (String(grid) !== String(value.grid) || largest !== props.largest) past = [];
  grid = value.grid;
  largest = props.largest;
  brush.max = largest > 1 ? largest : 9;
  tellBrush();
  dabs = new Map((value.dabs || []).map((each, index) => [String(each), six(value.dab_colours, index)]));
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

function tellBrush() {
  const side = brush.value, one = largest > 1 && side > 1, size = side + "×" + side;
  const meaning = one ? "one value: the average of " + size + " pixels" : side > 1 ? size + " pixels" : "one pixel";
  find(".pt-brush output").textContent = one ? size : side;
  brush.ariaValueText = meaning;
  find(".pt-meaning").textContent = brush.parentElement.title = "A dab of this brush is " + meaning;
  find(".pt-meaning").hidden = largest < 2;
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
    pen.fillStyle = (x + y) % 2 ? "#292e3d" : "#383f52";
    pen.fillRect(...box(x, y));
    if (tool === "reveal" && picture.length) {
      pen.globalAlpha = 0.3;
      pen.fillStyle = picture[number(x, y)];
      pen.fillRect(...box(x, y));
      pen.globalAlpha = 1;
    }
  }
  const largestFirst = [...dabs].map(([key, each]) => [square(key), each]).sort(([a], [b]) => b[2] - a[2]);
  for (const [[left, top, size], each] of largestFirst) {
    pen.beginPath();
    pen.roundRect(left * side + 2, top * tall + 2, size * side - 4, size * tall - 4, size * side * 0.3);
    pen.fillStyle = pen.strokeStyle = each;
    pen.globalAlpha = 0.5;
    pen.fill();
    pen.globalAlpha = 1;
    pen.lineWidth = 2.5;
    pen.stroke();
  }
  for (const [cell, known] of cells) {
    pen.fillStyle = known;
    pen.fillRect(...box(cell % w, Math.floor(cell / w)));
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
    const [left, top, size] = under(cursor);
    pen.lineWidth = 2;
    pen.strokeStyle = keyed ? "#ffd23f" : "rgba(255,255,255,.75)";
    pen.strokeRect(left * side, top * tall, size * side, size * tall);
  }
  undo.disabled = !past.length;
  clear.disabled = !cells.size && !dabs.size;
}

function under([x, y], size = Number(brush.value)) {  // the brush's square; that of a dab lies inside the picture
  const corner = [x, y].map((place) => place - Math.floor((size - 1) / 2));
  const inside = largest > 1 ? corner.map((low, axis) => Math.min(grid[axis] - size, Math.max(0, low))) : corner;
  return [...inside, size];
}

function cellsOf([left, top, size]) {
  const found = [];
  for (let y = Math.max(0, top); y < Math.min(grid[1], top + size); y++)
    for (let x = Math.max(0, left); x < Math.min(grid[0], left + size); x++) found.push(number(x, y));
  return found;
}

function average(colours) {
  const channel = (each, at) => parseInt(each.substr(1 + 2 * at, 2), 16);
  const mean = (at) => Math.round(colours.reduce((sum, each) => sum + channel(each, at), 0) / colours.length);
  return "#" + [0, 1, 2].map((at) => mean(at).toString(16).padStart(2, "0")).join("");
}

function touch(place) {
  const area = under(place);
  if (tool === "erase") erase(area);
  else if (largest > 1 && area[2] > 1) stamp(place, area);
  else for (const cell of cellsOf(area)) cells.set(cell, tool === "reveal" ? picture[cell] : colour);
}

function stamp(place, area) {  // one value for the whole square, at most every half side of a stroke
  const far = stamped && Math.max(...place.map((each, axis) => Math.abs(each - stamped[axis])));
  if (stamped && far < area[2] / 2) return;
  stamped = place;
  for (const key of [...dabs.keys()])
    if (square(key)[2] === area[2] && within(...middle(square(key)), area)) dabs.delete(key);  // painted over
  dabs.set(String(area), tool === "reveal" ? average(cellsOf(area).map((cell) => picture[cell])) : colour);
}

function erase(area) {
  for (const cell of cellsOf(area)) cells.delete(cell);
  for (const key of [...dabs.keys()])
    if (within(...middle(square(key)), area) || within(...middle(area), square(key))) dabs.delete(key);
}

function line(from, to) {
  const steps = Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]), 1);
  for (let step = 0; step <= steps; step++)
    touch([0, 1].map((axis) => Math.round(from[axis] + (to[axis] - from[axis]) * step / steps)));
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
    const hex = (map) => [...map.values()].map((each) => each.slice(1)).join("");
    props.value = {
      grid: grid, cells: [...cells.keys()], colours: hex(cells),
      dabs: [...dabs.keys()].map(square), dab_colours: hex(dabs),
    };
    trigger("input");
  });
}

function remember() {
  past.push([new Map(cells), new Map(dabs)]);
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
  stamped = null;
  touch(last);
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
  const key = event.key, centre = [grid[0] >> 1, grid[1] >> 1];
  if (ARROWS[key]) {
    cursor = cursor || centre;
    cursor = cursor.map((value, axis) => Math.min(grid[axis] - 1, Math.max(0, value + ARROWS[key][axis])));
    said.textContent = "Column " + (cursor[0] + 1) + ", row " + (cursor[1] + 1) + ", " + known(cursor);
  } else if (key === " " || key === "Enter") {
    cursor = cursor || centre;
    remember();
    stamped = null;
    touch(cursor);
    changed();
  } else if (key === "Delete" || key === "Backspace") {
    cursor = cursor || centre;
    remember();
    erase([...cursor, 1]);
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

function known([x, y]) {  // in words: the pixel, or else the smallest dab there
  const pixel = cells.get(number(x, y));
  if (pixel) return pixel;
  const here = [...dabs.keys()].filter((key) => within(x + 0.5, y + 0.5, square(key)));
  if (!here.length) return "not observed";
  const key = here.reduce((best, each) => (square(each)[2] < square(best)[2] ? each : best)), size = square(key)[2];
  return "in an average of " + size + "×" + size + " pixels, " + dabs.get(key);
}

function back() {
  if (!past.length) return;
  [cells, dabs] = past.pop();
  changed();
}
undo.addEventListener("click", back);
clear.addEventListener("click", () => { remember(); cells = new Map(); dabs = new Map(); changed(); });
for (const button of element.querySelectorAll("[data-tool]"))
  button.addEventListener("click", () => choose(button.dataset.tool));
brush.addEventListener("input", tellBrush);
watch(["value", "picture", "channels", "largest", "mark"], load);
load();
