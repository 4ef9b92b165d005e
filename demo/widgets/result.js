const large = find(".pt-large"), picture = large.querySelector("img"), ring = find(".pt-ring");
const thumbs = find(".pt-thumbs"), bar = find("progress"), note = find(".pt-note"), keep = find(".pt-save");
let tiles = [], fresh = 0, chosen = 0, aim = [0, 0];  // `fresh` of the tiles are of the last request

function show() {
  const value = props.value || { tiles: [], count: 0, share: 1 };
  tiles = [...value.tiles, ...tiles.slice(value.tiles.length, value.count)];
  fresh = value.tiles.length;
  if (chosen >= tiles.length) chosen = 0;
  bar.value = value.share;
  bar.style.visibility = value.share < 1 ? "visible" : "hidden";
  upToDate(value.name);  // a picture of an older request may come after a change, even a finished one
  element.querySelector(".pt-result").dataset.share = value.share;
  paint();
}

function paint() {
  const value = props.value || { share: 1 }, tile = tiles[chosen];
  large.hidden = keep.hidden = !tile;
  note.textContent = value.ahead ? "Waiting: " + value.ahead + (value.ahead > 1 ? " drawings come" : " drawing comes") + " first"
    : value.share < 1 ? "Drawing, " + Math.round(100 * value.share) + " %" : tile ? tile.text : props.empty;
  if (tile && picture.src !== tile.url) picture.src = tile.url;
  picture.alt = tile ? tile.text : "";
  large.dataset.old = chosen >= fresh;
  large.title = tile ? tile.text + ". Click a pixel for its distribution" : "";
  place();
  while (thumbs.children.length > tiles.length) thumbs.lastChild.remove();
  tiles.forEach((each, index) => {
    const button = thumbs.children[index] || thumbs.appendChild(document.createElement("button"));
    if (!button.firstChild) {
      button.type = "button";
      button.className = "pt-thumb";
      button.append(document.createElement("img"));
      button.addEventListener("click", () => { chosen = index; paint(); });
    }
    if (button.firstChild.src !== each.url) button.firstChild.src = each.url;
    button.firstChild.alt = each.name;
    button.title = "Show " + each.name.toLowerCase() + " large";
    button.ariaPressed = index === chosen;
    button.dataset.old = index >= fresh;
  });
  thumbs.hidden = tiles.length < 2;
}

function place() {
  ring.hidden = !props.mark;
  if (!props.mark) return;
  ring.style.left = (props.mark[0] + 1) * 50 + "%";
  ring.style.top = (props.mark[1] + 1) * 50 + "%";
}
const inside = (value) => Math.min(0.9999, Math.max(-0.9999, value));
large.addEventListener("click", (event) => {
  if (event.detail) {
    const box = picture.getBoundingClientRect();
    aim = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((part) => inside(2 * part - 1));
  }
  trigger("pick", { tile: tiles[chosen].name, x: aim[0], y: aim[1] });
});
large.addEventListener("keydown", (event) => {
  const step = ARROWS[event.key];
  if (!step) return;
  event.preventDefault();
  aim = aim.map((value, axis) => inside(value + step[axis] / 16));
  props.mark = aim;
  place();
});
// A card to show around: the sketch, the large sample next to it, the others below.
function card() {
  const sheet = document.createElement("canvas"), pen = sheet.getContext("2d"), side = 512, gap = 24;
  const sketch = document.querySelector("#pad canvas"), others = [...thumbs.querySelectorAll("img")].filter((_, n) => n !== chosen);
  const small = Math.min(160, (2 * side + gap - gap * (others.length - 1)) / Math.max(1, others.length));
  sheet.width = 2 * side + 3 * gap;
  sheet.height = side + 96 + (others.length ? small + gap : 0);
  pen.fillStyle = "#14161f";
  pen.fillRect(0, 0, sheet.width, sheet.height);
  pen.imageSmoothingQuality = "high";
  if (sketch) pen.drawImage(sketch, gap, 64, side, side);
  pen.drawImage(picture, 2 * gap + side, 64, side, side);
  others.forEach((image, n) => pen.drawImage(image, gap + n * (small + gap), side + 64 + gap, small, small));
  pen.fillStyle = "#ffffff";
  pen.font = "600 26px system-ui, sans-serif";
  pen.fillText("My sketch", gap, 42);
  pen.fillText("PixelTransformer’s picture", 2 * gap + side, 42);
  return sheet;
}
keep.addEventListener("click", () => card().toBlob(async (blob) => {
  const file = new File([blob], "sketch-and-samples.png", { type: "image/png" });
  try {
    if (matchMedia("(pointer: coarse)").matches && navigator.canShare?.({ files: [file] }))
      return await navigator.share({ files: [file] });
  } catch (error) {
    if (error.name === "AbortError") return;  // the visitor thought better of it
  }
  const link = URL.createObjectURL(blob);
  save(link, file.name);
  setTimeout(() => URL.revokeObjectURL(link), 10000);
}, "image/png"));
whenNew(show);
watch(["mark", "empty"], paint);
watch("wanted", show);
show();
