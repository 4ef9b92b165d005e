const canvas = find("canvas"), pen = canvas.getContext("2d"), said = find(".pt-said");
const brush = find(".pt-brush input"), acts = Object.fromEntries(["undo", "redo", "clear"].map((act) => [act, find("[data-act=" + act + "]")]));
const paper = find(".pt-paper input");
const COLOURS = { "#c8742c": "ginger", "#e8b878": "sand", "#6b4423": "brown", "#141210": "black", "#4c4844": "dark grey",
  "#8c8880": "grey", "#c8c4bc": "light grey", "#ffffff": "white", "#e79a9a": "pink", "#d9443f": "red",
  "#8fae5a": "leaf green", "#3e7a45": "dark green", "#7fb2dd": "sky blue", "#2f5f9e": "dark blue" };
const FOR = { ginger: "fur", sand: "muzzle", brown: "stripes", black: "pupils", grey: "fur or ground", white: "muzzle",
  pink: "nose and ears", "leaf green": "eyes" };  // what of a cat one paints with it
const GREYS = { "#ffffff": "white ink", "#d0d0d0": "light grey", "#a0a0a0": "grey", "#707070": "middle grey",
  "#404040": "dark grey", "#000000": "black paper" };
const BACKGROUND = "#000000", NEAR = 1.5, FAR = 3.6;  // paper lies so many pixels from ink
// What is observed: pixels by number, dabs by "left,top,side", which pixels are ink, and what it was made for.
let grid = [32, 32], cells = new Map(), dabs = new Map(), inked = new Set(), checkpoint = "", source = "";
let past = [], future = [], sent = null;
let tool = "paint", colour = "", palette = null, ghosted = null, largest = 0, picture = [];
let cursor = null, keyed = false, stroke = false, last = null, stamped = null, own = new Set();

const six = (value, index) => "#" + value.substr(6 * index, 6);
const number = (x, y) => y * grid[0] + x;
const square = (key) => key.split(",").map(Number);
const within = (x, y, [left, top, side]) => x > left && y > top && x < left + side && y < top + side;
const middle = ([left, top, side]) => [left + side / 2, top + side / 2];
const meet = ([a, b, s], [x, y, t]) => a < x + t && x < a + s && b < y + t && y < b + s;
const around = () => props.channels === 1 && paper.checked;

function load() {
  const text = JSON.stringify(props.value);
  if (props.value && text !== sent) {
    if (sent !== null) remember();
    adopt(props.value);
    sent = text;
  }
  largest = props.largest;
  brush.max = largest > 1 ? largest : 9;
  tellBrush();
  const shown = props.picture || "";
  picture = Array.from({ length: shown.length / 6 }, (_, index) => six(shown, index));
  find("[data-tool=reveal]").hidden = !picture.length;
  find(".pt-paper").hidden = props.channels !== 1;
  if (tool === "reveal" && !picture.length) choose("paint");
  const wanted = props.channels === 1 ? GREYS : COLOURS;
  if (palette !== wanted || ghosted !== props.ghost) fillPalette(wanted);
  draw();
}

function adopt(value) {
  ({ grid, checkpoint = "", source = "" } = value);
  dabs = new Map((value.dabs || []).map((each, index) => [String(each), six(value.dab_colours, index)]));
  cells = new Map(value.cells.map((cell, index) => [cell, six(value.colours, index)]));
  inked = new Set(value.ink || []);
}

function fillPalette(colours) {
  const kept = palette === colours;
  palette = colours;
  ghosted = props.ghost;
  const box = find(".pt-palette");
  box.replaceChildren(...Object.entries(colours).map(([each, name]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "pt-swatch";
    button.style.background = button.dataset.colour = each;
    button.ariaLabel = name;
    button.title = purpose(name);
    button.addEventListener("click", () => pick(each));
    return button;
  }));
  const other = document.createElement("input");
  other.type = "color";
  other.className = "pt-swatch";
  other.title = other.ariaLabel = "Another colour";
  other.value = "#b08060";
  other.addEventListener("input", () => pick(other.value));
  box.append(other);
  if (!kept) colour = Object.keys(colours)[0];
  mark();
}

const purpose = (name) => name + (props.ghost && FOR[name] ? ": " + FOR[name] : "");

function mark() {
  find(".pt-colour").textContent = purpose(palette[colour] || "a colour of yours");
  for (const swatch of element.querySelectorAll("button.pt-swatch")) swatch.ariaPressed = swatch.dataset.colour === colour;
}

function pick(each) {
  colour = each;
  mark();
  if (tool !== "paint") choose("paint");
}

function tellBrush() {
  const side = brush.value, one = largest > 1 && side > 1, size = side + "×" + side;
  const meaning = one ? "the average of " + size + " pixels" : side > 1 ? size + " pixels" : "one pixel";
  find(".pt-brush output").textContent = size;
  brush.ariaValueText = meaning;
  brush.parentElement.title = "A dab of this brush is " + meaning;
  find(".pt-meaning").textContent = meaning;
}

function choose(name) {
  tool = name;
  for (const button of element.querySelectorAll("[data-tool]")) button.ariaPressed = button.dataset.tool === name;
  draw();
}

function paperCells() {  // what lies near ink and is neither ink nor painted: observed to be background
  if (!around() || !inked.size) return [];
  const ink = [...inked].map((cell) => [cell % grid[0], Math.floor(cell / grid[0])]), found = [];
  for (let y = 0; y < grid[1]; y++) for (let x = 0; x < grid[0]; x++) {
    if (inked.has(number(x, y)) || cells.has(number(x, y))) continue;
    const far = Math.min(...ink.map(([a, b]) => Math.hypot(a - x, b - y)));
    if (far > NEAR && far <= FAR) found.push(number(x, y));
  }
  return found;
}

function draw() {
  const [w, h] = grid, side = canvas.width / w, tall = canvas.height / h;
  const box = (x, y, wide = 1, high = 1) => [Math.round(x * side), Math.round(y * tall),
    Math.round((x + wide) * side) - Math.round(x * side), Math.round((y + high) * tall) - Math.round(y * tall)];
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) {
    pen.fillStyle = (x + y) % 2 ? "#4a5068" : "#545b75";
    pen.fillRect(...box(x, y));
    if (tool === "reveal" && picture.length) {
      pen.globalAlpha = 0.3;
      pen.fillStyle = picture[number(x, y)];
      pen.fillRect(...box(x, y));
      pen.globalAlpha = 1;
    }
  }
  for (const cell of paperCells()) {
    pen.fillStyle = "#10121c";
    pen.fillRect(...box(cell % w, Math.floor(cell / w)));
  }
  for (const [key, each] of dabs) {
    const [left, top, size] = square(key);
    pen.beginPath();
    pen.roundRect(left * side, top * tall, size * side, size * tall, Math.min(6, size * side * 0.2));
    pen.fillStyle = each;
    pen.fill();
  }
  for (const [cell, known] of cells) {
    pen.fillStyle = known;
    pen.fillRect(...box(cell % w, Math.floor(cell / w)));
  }
  if (props.ghost && cells.size + dabs.size < 40) ghost(pen, canvas.width);
  if (props.mark >= 0) ring(box(props.mark % w, Math.floor(props.mark / w)), side);
  if (cursor) {
    const [left, top, size] = under(cursor);
    pen.lineWidth = 2;
    pen.strokeStyle = keyed ? "#ffd23f" : "rgba(255,255,255,.75)";
    pen.strokeRect(left * side, top * tall, size * side, size * tall);
  }
  acts.undo.disabled = !past.length;
  acts.redo.disabled = !future.length;
  acts.clear.disabled = !cells.size && !dabs.size;
}

function ring([left, top, wide, high], side) {
  for (const [width, style] of [[7, "#000"], [3.5, "#ff4fd8"]]) {
    pen.lineWidth = width;
    pen.strokeStyle = style;
    pen.beginPath();
    pen.arc(left + wide / 2, top + high / 2, side * 1.6, 0, 7);
    pen.stroke();
  }
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

function touch(place) {
  const area = under(place), ink = tool === "paint" && props.channels === 1 && colour !== BACKGROUND;
  if (tool === "erase") return cover(area);
  if (largest > 1 && area[2] > 1 && tool !== "reveal" && !(ink && paper.checked)) stamp(place, area);
  else {
    cover(area);
    for (const cell of cellsOf(area)) cells.set(cell, tool === "reveal" ? picture[cell] : colour);
  }
  if (ink) for (const cell of cellsOf(area)) inked.add(cell);
}

function stamp(place, area) {  // one value for the whole square, at most every half side of a stroke
  const far = stamped && Math.max(...place.map((each, axis) => Math.abs(each - stamped[axis])));
  if (stamped && far < area[2] / 2) return;
  stamped = place;
  cover(area);
  const key = String(area);
  dabs.set(key, colour);
  own.add(key);
}

// Take away what an area covers. Of a larger dab the uncovered parts stay, as smaller dabs; dabs of the same stroke
// may overlap.
function cover(area) {
  for (const cell of cellsOf(area)) {
    cells.delete(cell);
    inked.delete(cell);
  }
  for (const [key, each] of [...dabs]) {
    if (!meet(square(key), area)) continue;
    if (own.has(key) && tool !== "erase" && !within(...middle(square(key)), area)) continue;
    dabs.delete(key);
    if (!own.has(key) || tool === "erase") keepRest(square(key), area, each);
  }
}

function keepRest([left, top, side], area, each) {
  if (!meet([left, top, side], area)) {
    if (side > 1) dabs.set([left, top, side].join(), each);
    else if (!cells.has(number(left, top))) cells.set(number(left, top), each);
    return;
  }
  if (side <= 1) return;
  const half = side / 2;
  if (Number.isInteger(half))
    for (const x of [0, half]) for (const y of [0, half]) keepRest([left + x, top + y, half], area, each);
  else for (const cell of cellsOf([left, top, side]))
    keepRest([cell % grid[0], Math.floor(cell / grid[0]), 1], area, each);
}

function line(from, to) {
  const steps = Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]), 1);
  for (let step = 0; step <= steps; step++)
    touch([0, 1].map((axis) => Math.round(from[axis] + (to[axis] - from[axis]) * step / steps)));
}

let queued = false;
function changed(event = "input") {
  draw();
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    const hex = (map) => [...map.values()].map((each) => each.slice(1)).join("");
    const value = {
      grid: grid, cells: [...cells.keys()], colours: hex(cells), dabs: [...dabs.keys()].map(square), dab_colours: hex(dabs),
      ink: [...inked], paper: paperCells(), checkpoint: checkpoint, source: source,
    };
    sent = JSON.stringify(value);
    props.value = value;
    trigger(event);
  });
}

const copy = () => ({ grid, cells: new Map(cells), dabs: new Map(dabs), inked: new Set(inked), checkpoint, source });
function remember() {
  past.push(copy());
  future = [];
  if (past.length > 60) past.shift();
}

function travel(from, to) {
  if (!from.length) return;
  to.push(copy());
  const before = [checkpoint, source].join();
  ({ grid, cells, dabs, inked, checkpoint, source } = from.pop());
  changed([checkpoint, source].join() === before ? "input" : "recall");
}
const back = () => travel(past, future), forth = () => travel(future, past);

function at(event) {
  const box = canvas.getBoundingClientRect();
  const inside = (value, count) => Math.min(count - 1, Math.max(0, Math.floor(value * count)));
  return [inside((event.clientX - box.left) / box.width, grid[0]), inside((event.clientY - box.top) / box.height, grid[1])];
}

function begin() {
  remember();
  stamped = null;
  own = new Set();
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  event.preventDefault();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  begin();
  stroke = true;
  keyed = false;
  cursor = last = at(event);
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
  const key = event.key, centre = [grid[0] >> 1, grid[1] >> 1], command = event.ctrlKey || event.metaKey;
  if (ARROWS[key]) {
    cursor = cursor || centre;
    cursor = cursor.map((value, axis) => Math.min(grid[axis] - 1, Math.max(0, value + ARROWS[key][axis])));
    said.textContent = "Column " + (cursor[0] + 1) + ", row " + (cursor[1] + 1) + ", " + known(cursor);
  } else if (key === " " || key === "Enter") {
    cursor = cursor || centre;
    begin();
    touch(cursor);
    changed();
  } else if (key === "Delete" || key === "Backspace") {
    cursor = cursor || centre;
    const used = tool;
    begin();
    tool = "erase";
    cover(under(cursor));
    tool = used;
    changed();
  } else if (command && (key === "y" || key === "Z")) forth();
  else if (command && key === "z") back();
  else if (command) return;
  else if (key === "p") choose("paint");
  else if (key === "e") choose("erase");
  else if (key === "r" && picture.length) choose("reveal");
  else return;
  keyed = true;
  event.preventDefault();
  draw();
});

function named(each) {
  return palette[each] || each;
}

function known([x, y]) {  // in words: the pixel, or else the smallest dab there
  const pixel = cells.get(number(x, y));
  if (pixel) return named(pixel);
  const here = [...dabs.keys()].filter((key) => within(x + 0.5, y + 0.5, square(key)));
  if (!here.length) return "not observed";
  const key = here.reduce((best, each) => (square(each)[2] < square(best)[2] ? each : best)), size = square(key)[2];
  return "in an average of " + size + "×" + size + " pixels, " + named(dabs.get(key));
}

acts.undo.addEventListener("click", back);
acts.redo.addEventListener("click", forth);
acts.clear.addEventListener("click", () => {
  begin();
  cells = new Map();
  dabs = new Map();
  inked = new Set();
  changed();
});
for (const button of element.querySelectorAll("[data-tool]"))
  button.addEventListener("click", () => choose(button.dataset.tool));
brush.addEventListener("input", tellBrush);
paper.addEventListener("change", () => changed());
watch(["value", "picture", "channels", "largest", "mark", "ghost"], load);
load();
