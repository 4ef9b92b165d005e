const sheet = find("svg"), said = find(".pt-said");
const LEFT = 40, RIGHT = 710, TOP = 8, BOTTOM = 372;
const NEAR = 16;  // so far from a point, in units of the plot, it is taken and dragged
let tool = "add", aim = null, low = -6, high = 6, probe = null;
let points = [], sent = [], asked = false, held = -1;  // the visitor's points, the states sent, the one that is dragged

const toX = (x) => LEFT + (x + 1) / 2 * (RIGHT - LEFT);
const toY = (y) => BOTTOM - (y - low) / (high - low) * (BOTTOM - TOP);
const fromX = (x) => Math.min(1, Math.max(-1, 2 * (x - LEFT) / (RIGHT - LEFT) - 1));
const fromY = (y) => low + (BOTTOM - y) / (BOTTOM - TOP) * (high - low);
const path = (xs, ys) => xs.map((x, i) => toX(x).toFixed(1) + "," + toY(Math.max(-99, Math.min(99, ys[i]))).toFixed(1)).join(" ");

function choose(name) {
  tool = name;
  for (const button of element.querySelectorAll("[data-tool]")) button.ariaPressed = button.dataset.tool === name;
  if (name !== "ask") { probe = null; askAt.cancel(); show(); }
}

function show() {
  const v = props.value;
  if (!v) return;
  const extremes = [...v.points.map((p) => p[1]), ...(v.truth || []), ...v.mean];
  if (held < 0) high = Math.ceil(Math.max(4, ...extremes.map(Math.abs)) + 1);  // the plot stays while one drags
  low = -high;
  const samples = props.drawn && written(props.drawn.points) === written(points) ? props.drawn.samples : [];
  let out = '<defs><clipPath id="pt-box"><rect x="' + LEFT + '" y="' + TOP + '" width="' + (RIGHT - LEFT) + '" height="' + (BOTTOM - TOP) + '"/></clipPath></defs>';
  const gap = high > 16 ? 10 : high > 8 ? 4 : 2;
  for (let y = -gap * Math.floor(high / gap); y <= high; y += gap)
    out += '<line class="pt-grid" x1="' + LEFT + '" x2="' + RIGHT + '" y1="' + toY(y) + '" y2="' + toY(y) + '"/><text x="34" y="' + (toY(y) + 4) + '" text-anchor="end">' + y + "</text>";
  for (const x of [-1, -0.5, 0, 0.5, 1]) out += '<text x="' + toX(x) + '" y="391" text-anchor="middle">' + x + "</text>";
  out += '<g clip-path="url(#pt-box)">';
  for (const [width, alpha] of [[1.645, 0.16], [0.674, 0.26]]) {
    const up = v.mean.map((m, i) => m + width * v.deviation[i]), down = v.mean.map((m, i) => m - width * v.deviation[i]);
    out += '<polygon class="band" opacity="' + alpha + '" points="' + path(v.x, up) + " " + path([...v.x].reverse(), down.reverse()) + '"/>';
  }
  const line = (name, xs, ys) => { out += '<polyline class="' + name + '" points="' + path(xs, ys) + '"/>'; };
  for (const sample of samples) line("sample", props.drawn.x, sample);
  line("mean", v.x, v.mean);
  for (const sign of [-1.645, 1.645]) line("exact", v.x, v.exact_mean.map((m, i) => m + sign * v.exact_deviation[i]));
  if (v.truth) line("truth", v.x, v.truth);
  if (probe !== null) out += '<line class="aim" x1="' + toX(probe) + '" x2="' + toX(probe) + '" y1="' + TOP + '" y2="' + BOTTOM + '"/>';
  for (const [x, y] of points) out += '<circle cx="' + toX(x) + '" cy="' + toY(y) + '" r="6.5"/>';
  if (aim) out += '<path class="aim" fill="none" d="M' + toX(aim[0]) + " " + (toY(aim[1]) - 10) + "v20M" + (toX(aim[0]) - 10) + " " + toY(aim[1]) + 'h20"/>';
  sheet.innerHTML = out + "</g>";
  const key = [["--pt-accent", "solid", "mean, 50 % and 90 % bands" + (samples.length ? ", samples" : "")], ["--pt-exact", "dotted", "exact posterior, 90 %"]];
  if (v.truth) key.push(["--pt-second", "dashed", "true curve"]);
  find(".pt-key").innerHTML = key.map(([colour, style, text]) => '<span><i style="border-color:var(' + colour + ");border-top-style:" + style + '"></i>' + text + "</span>").join("");
}

const written = (list) => list.map((point) => point.map((each) => each.toFixed(4)).join()).join(";");
function edit(list) {  // shown at once; the curves follow
  points = list;
  if (written(list) !== sent.at(-1)) sent.push(written(list));
  if (sent.length > 100) sent.shift();
  show();
  if (asked) return;
  asked = true;
  setTimeout(() => { asked = false; trigger("edit", { points: points }); }, 60);
}

function load() {
  const came = props.value && written(props.value.points);
  // Of the states that were sent, only the last one may come back; points from elsewhere always count.
  if (props.value && (came === sent.at(-1) || !sent.includes(came))) {
    points = props.value.points;
    sent = [came];
  }
  show();
}

const nearest = (x, y) => {
  const far = points.map(([px, py]) => Math.hypot(toX(px) - toX(x), toY(py) - toY(y)));
  return far.length && Math.min(...far) < NEAR ? far.indexOf(Math.min(...far)) : -1;
};
const askAt = later(60, () => trigger("ask", { x: probe }));
function askFor(x) {
  probe = x;
  show();
  askAt();
}

function use(x, y) {
  if (tool === "ask") askFor(x);
  else if (tool === "add") edit([...points, [x, y]]);
  else if (points.length) {
    const far = points.map(([px, py]) => Math.hypot(toX(px) - toX(x), toY(py) - toY(y)));
    const gone = far.indexOf(Math.min(...far));
    edit(points.filter((_, index) => index !== gone));
  }
}

const spotOf = (event) => {
  const spot = new DOMPoint(event.clientX, event.clientY).matrixTransform(sheet.getScreenCTM().inverse());
  return [fromX(spot.x), Math.min(50, Math.max(-50, fromY(spot.y)))];
};
sheet.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  aim = null;
  const [x, y] = spotOf(event), at = nearest(x, y);
  if (tool !== "add" || at < 0) return use(x, y);
  held = at;
  event.preventDefault();
  sheet.setPointerCapture(event.pointerId);
});
sheet.addEventListener("pointermove", (event) => {
  const spot = spotOf(event);
  if (held >= 0) edit(points.map((each, index) => (index === held ? spot : each)));
  else if (tool === "ask") askFor(spot[0]);
  else sheet.style.cursor = tool === "add" && nearest(...spot) >= 0 ? "grab" : "";
});
for (const name of ["pointerup", "pointercancel"]) sheet.addEventListener(name, () => { held = -1; });
sheet.addEventListener("keydown", (event) => {
  const step = ARROWS[event.key];
  if (step) {
    aim = aim || [0, 0];
    aim = [Math.min(1, Math.max(-1, aim[0] + step[0] / 20)), Math.min(high, Math.max(low, aim[1] - step[1] * high / 24))];
    said.textContent = "x " + aim[0].toFixed(2) + ", y " + aim[1].toFixed(2);
    show();
  } else if (event.key === "Enter" || event.key === " ") use(...(aim || [0, 0]));
  else if (event.key === "a") choose("add");
  else if (event.key === "r") choose("remove");
  else if (event.key === "d") choose("ask");
  else return;
  event.preventDefault();
});
for (const button of element.querySelectorAll("[data-tool]")) button.addEventListener("click", () => choose(button.dataset.tool));
whenNew(() => { upToDate(); load(); });
watch("drawn", show);
load();
