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
  upToDate();
  element.querySelector(".pt-result").dataset.share = value.share;
  paint();
}

function paint() {
  const value = props.value || { share: 1 }, tile = tiles[chosen];
  large.hidden = keep.hidden = !tile;
  note.textContent = value.share < 1 ? "Drawing, " + Math.round(100 * value.share) + " %" : tile ? tile.text : props.empty;
  if (tile && picture.src !== tile.url) picture.src = tile.url;
  picture.alt = tile ? tile.text : "";
  large.dataset.old = chosen >= fresh;
  large.title = "Click for the distribution of a pixel's value";
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
keep.addEventListener("click", () => {
  const sheet = document.createElement("canvas");
  sheet.width = picture.naturalWidth;
  sheet.height = picture.naturalHeight;
  sheet.getContext("2d").drawImage(picture, 0, 0);
  save(sheet.toDataURL("image/png"), tiles[chosen].name.toLowerCase().replaceAll(" ", "-") + ".png");
});
watch("value", show);
watch(["mark", "empty"], paint);
show();
