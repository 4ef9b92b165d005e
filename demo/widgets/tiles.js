const list = find(".pt-tiles");

function make() {
  const figure = document.createElement("figure");
  figure.innerHTML = '<button type="button" class="pt-look"><img draggable="false"><span class="pt-ring" hidden></span>' +
    '</button><figcaption><b></b> <span></span><button type="button" class="pt-save" title="Save as PNG">&#8615;</button></figcaption>';
  const look = figure.querySelector(".pt-look"), image = figure.querySelector("img");
  let aim = [0, 0];
  const send = () => trigger("pick", { tile: figure.dataset.name, x: aim[0], y: aim[1] });
  const ring = () => place(figure.querySelector(".pt-ring"), aim);
  look.addEventListener("click", (event) => {
    if (event.detail) {  // a pointer's click; a key's has no place of its own
      const box = image.getBoundingClientRect();
      aim = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
        .map((value) => Math.min(0.9999, Math.max(-0.9999, 2 * value - 1)));
    }
    if (look.disabled) return;
    ring();
    send();
  });
  look.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    if (!step) return;
    event.preventDefault();
    const size = [image.naturalWidth || 32, image.naturalHeight || 32];
    aim = aim.map((value, axis) => Math.min(0.9999, Math.max(-0.9999, value + 2 * step[axis] / size[axis])));
    ring();
  });
  figure.querySelector(".pt-save").addEventListener("click", () => {
    const zoom = Math.max(1, Math.round(512 / image.naturalWidth)), sheet = document.createElement("canvas");
    sheet.width = image.naturalWidth * zoom;
    sheet.height = image.naturalHeight * zoom;
    const pen = sheet.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(image, 0, 0, sheet.width, sheet.height);
    save(sheet.toDataURL("image/png"), figure.dataset.name.toLowerCase().replaceAll(" ", "-") + ".png");
  });
  return figure;
}

function place(ring, aim) {
  ring.hidden = !aim;
  if (!aim) return;
  ring.style.left = (aim[0] + 1) * 50 + "%";
  ring.style.top = (aim[1] + 1) * 50 + "%";
}

function show() {
  const tiles = props.value || [];
  while (list.children.length > tiles.length || list.querySelector(".pt-empty")) list.lastChild.remove();
  if (!tiles.length && props.empty) {
    const text = document.createElement("p");
    text.className = "pt-empty";
    text.textContent = props.empty;
    list.replaceChildren(text);
    return;
  }
  tiles.forEach((tile, index) => {
    const figure = list.children[index] || list.appendChild(make());
    const image = figure.querySelector("img"), look = figure.querySelector(".pt-look");
    figure.dataset.name = tile.name;
    if (image.src !== tile.url) image.src = tile.url;
    image.alt = tile.text;
    look.disabled = !tile.pickable;
    look.title = tile.text;
    figure.querySelector("b").textContent = tile.name;
    figure.querySelector("figcaption span").textContent = tile.note;
    figure.querySelector(".pt-save").ariaLabel = "Save " + tile.name + " as PNG";
    if (tile.pickable) place(figure.querySelector(".pt-ring"), props.mark);
  });
}
whenNew(() => { upToDate(); show(); });
watch(["mark", "empty"], show);
show();
