const sheet = find("svg"), said = find(".pt-said");
const LEFT = 40, RIGHT = 710, TOP = 8, BOTTOM = 372;
let tool = "add", aim = null, low = -6, high = 6, probe = null;

const toX = (x) => LEFT + (x + 1) / 2 * (RIGHT - LEFT);
const toY = (y) => BOTTOM - (y - low) / (high - low) * (BOTTOM - TOP);
const fromX = (x) => Math.min(1, Math.max(-1, 2 * (x - LEFT) / (RIGHT - LEFT) - 1));
const fromY = (y) => low + (BOTTOM - y) / (BOTTOM - TOP) * (high - low);
const path = (xs, ys) => xs.map((x, i) => toX(x).toFixed(1) + "," + toY(Math.max(-99, Math.min(99, ys[i]))).toFixed(1)).join(" ");

function choose(name) {
  tool = name;
  for (const button of element.querySelectorAll("[data-tool]")) button.ariaPressed = button.dataset.tool === name;
}

function show() {
  const v = props.value;
  if (!v) return;
  const extremes = [...v.points.map((p) => p[1]), ...(v.truth || []), ...v.mean];
  high = Math.ceil(Math.max(4, ...extremes.map(Math.abs)) + 1);
  low = -high;
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
  for (const sample of v.samples) line("sample", v.sample_x, sample);
  line("mean", v.x, v.mean);
  for (const sign of [-1.645, 1.645]) line("exact", v.x, v.exact_mean.map((m, i) => m + sign * v.exact_deviation[i]));
  if (v.truth) line("truth", v.x, v.truth);
  if (probe !== null) out += '<line class="aim" x1="' + toX(probe) + '" x2="' + toX(probe) + '" y1="' + TOP + '" y2="' + BOTTOM + '"/>';
  for (const [x, y] of v.points) out += '<circle cx="' + toX(x) + '" cy="' + toY(y) + '" r="5.5"/>';
  if (aim) out += '<path class="aim" fill="none" d="M' + toX(aim[0]) + " " + (toY(aim[1]) - 10) + "v20M" + (toX(aim[0]) - 10) + " " + toY(aim[1]) + 'h20"/>';
  sheet.innerHTML = out + "</g>";
  const key = [["--pt-accent", "solid", "mean, 50 % and 90 % bands" + (v.samples.length ? ", samples" : "")], ["--pt-exact", "dotted", "exact posterior, 90 %"]];
  if (v.truth) key.push(["--pt-second", "dashed", "true curve"]);
  find(".pt-key").innerHTML = key.map(([colour, style, text]) => '<span><i style="border-color:var(' + colour + ");border-top-style:" + style + '"></i>' + text + "</span>").join("");
}

function use(x, y) {
  const points = props.value.points;
  if (tool === "ask") {
    probe = x;
    show();
    trigger("ask", { x: x });
  } else if (tool === "add") trigger("edit", { points: [...points, [x, y]] });
  else if (points.length) {
    const far = points.map(([px, py]) => Math.hypot(toX(px) - toX(x), toY(py) - toY(y)));
    const nearest = far.indexOf(Math.min(...far));
    trigger("edit", { points: points.filter((_, index) => index !== nearest) });
  }
}

sheet.addEventListener("click", (event) => {
  const spot = new DOMPoint(event.clientX, event.clientY).matrixTransform(sheet.getScreenCTM().inverse());
  aim = null;
  use(fromX(spot.x), fromY(spot.y));
});
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
watch("value", () => { upToDate(); show(); });
show();
