const canvas = find("canvas"), pen = canvas.getContext("2d"), said = find(".pt-said");
const SIDE = props.side, REACH = { ink: 1.1, paper: 1.1, hide: 2.3, show: 2.3 };  // pixels around the pointer
const COLOURS = { 11: "#ffffff", 10: "#000000", "01": "#8a7440", "00": "#1a2450" };  // of known and ink
let tool = "hide", ink = [], known = [], last = null, cursor = null, keyed = false, sent = "";

function choose(name) {
  tool = name;
  for (const button of element.querySelectorAll("[data-tool]")) button.ariaPressed = button.dataset.tool === name;
}

function draw() {
  const size = canvas.width / SIDE;
  for (let cell = 0; cell < ink.length; cell++) {
    pen.fillStyle = COLOURS["" + known[cell] + ink[cell]];
    pen.fillRect((cell % SIDE) * size, Math.floor(cell / SIDE) * size, size, size);
  }
  if (!cursor) return;
  pen.lineWidth = 2;
  pen.strokeStyle = keyed ? "#ffd23f" : "rgba(255,255,255,.8)";
  pen.strokeRect(cursor[0] * size + 1, cursor[1] * size + 1, size - 2, size - 2);
}

function touch([x, y]) {
  const reach = REACH[tool];
  for (let cell = 0; cell < ink.length; cell++) {
    if (Math.hypot((cell % SIDE) - x, Math.floor(cell / SIDE) - y) >= reach) continue;
    if (tool === "hide" || tool === "show") known[cell] = tool === "show" ? 1 : 0;
    else ink[cell] = tool === "ink" ? 1 : 0;
  }
}

function line(from, to) {
  const steps = Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]), 1);
  for (let step = 0; step <= steps; step++) touch([0, 1].map((axis) => Math.round(from[axis] + (to[axis] - from[axis]) * step / steps)));
  draw();
}

function tell() {
  const value = { ink: ink.join(""), known: known.join("") };
  sent = JSON.stringify(value);
  trigger("edit", value);
}

const point = (cell) => window.dispatchEvent(new CustomEvent("pt-pixel", { detail: cell }));
const at = (event) => {
  const box = canvas.getBoundingClientRect();
  const inside = (share) => Math.min(SIDE - 1, Math.max(0, Math.floor(share * SIDE)));
  return [inside((event.clientX - box.left) / box.width), inside((event.clientY - box.top) / box.height)];
};
canvas.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  event.preventDefault();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  keyed = false;
  cursor = last = at(event);
  line(last, last);
});
canvas.addEventListener("pointermove", (event) => {
  const here = at(event), moved = String(here) !== String(cursor);
  cursor = here;
  keyed = false;
  if (last) {
    line(last, here);
    last = here;
  } else if (moved) draw();
  if (moved) point(here[1] * SIDE + here[0]);
});
canvas.addEventListener("pointerup", () => { if (last) tell(); last = null; });
canvas.addEventListener("pointercancel", () => { if (last) tell(); last = null; });
for (const name of ["pointerleave", "blur"]) canvas.addEventListener(name, () => { if (!last) { cursor = null; draw(); } });
canvas.addEventListener("keydown", (event) => {
  const step = ARROWS[event.key], tools = { h: "hide", o: "show", i: "ink", e: "paper" };
  if (step) {
    cursor = (cursor || [SIDE >> 1, SIDE >> 1]).map((value, axis) => Math.min(SIDE - 1, Math.max(0, value + step[axis])));
    keyed = true;
    const cell = cursor[1] * SIDE + cursor[0];
    said.textContent = "Column " + (cursor[0] + 1) + ", row " + (cursor[1] + 1) + ", " + (ink[cell] ? "ink" : "paper") + (known[cell] ? "" : ", hidden");
    point(cell);
    draw();
  } else if (event.key === "Enter" || event.key === " ") {
    line(cursor || [SIDE >> 1, SIDE >> 1], cursor || [SIDE >> 1, SIDE >> 1]);
    tell();
  } else if (tools[event.key]) choose(tools[event.key]);
  else return;
  event.preventDefault();
});
for (const button of element.querySelectorAll("[data-tool]")) button.addEventListener("click", () => choose(button.dataset.tool));

function load() {
  const value = props.value;
  // What was sent from here comes back: by then more may be drawn.
  if (!value || JSON.stringify({ ink: value.ink, known: value.known }) === sent) return;
  ink = [...value.ink].map(Number);
  known = [...value.known].map(Number);
  sent = "";
  draw();
}
whenNew(load);
load();
