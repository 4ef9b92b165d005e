const cards = find(".pt-cards"), pointed = find(".pt-pointed"), SIDE = 28;
let pixel = -1;

function add(parent, tag, name, text) {
  const part = document.createElement(tag);
  part.className = name;
  if (text) part.textContent = text;
  parent.append(part);
  return part;
}

function show() {
  upToDate(props.task);
  const value = props.value || [];
  cards.replaceChildren();
  if (!value.length) add(cards, "p", "pt-empty", props.empty);
  for (const each of value) {
    const card = add(cards, "article", "pt-card" + (each.best ? " pt-best" : "") + (each.pictures.length ? "" : " pt-refuses"));
    const title = add(card, "h4", "", each.name);
    add(title, "small", "", each.source);
    const row = add(card, "div", "pt-pair");
    for (const picture of each.pictures) {
      const image = add(row, "img", "");
      image.src = picture.url;
      image.alt = image.title = picture.text;
      image.draggable = false;
      const tell = (event) => {
        const box = image.getBoundingClientRect();
        const inside = (share) => Math.min(SIDE - 1, Math.max(0, Math.floor(share * SIDE)));
        const cell = inside((event.clientY - box.top) / box.height) * SIDE + inside((event.clientX - box.left) / box.width);
        window.dispatchEvent(new CustomEvent("pt-pixel", { detail: cell }));
      };
      image.addEventListener("pointermove", tell);
      image.addEventListener("pointerdown", tell);
    }
    add(card, "p", "", each.said);
    if (each.probabilities) {
      const bytes = atob(each.probabilities);
      const bar = add(card, "div", "pt-probability");
      add(bar, "i", "");
      add(bar, "span", "");
      bar.probabilities = (cell) => bytes.charCodeAt(cell) / 255;
    }
  }
  tellProbabilities();
}

function tellProbabilities() {
  const x = pixel % SIDE, y = Math.floor(pixel / SIDE);
  pointed.textContent = pixel < 0 ? "Point at a pixel, here or in the digit: each model's probability of ink there."
    : "Probability of ink in column " + (x + 1) + ", row " + (y + 1) + ":";
  for (const bar of element.querySelectorAll(".pt-probability")) {
    bar.hidden = pixel < 0;
    if (pixel < 0) continue;
    const share = Math.round(100 * bar.probabilities(pixel));
    bar.querySelector("i").style.width = share + "%";
    bar.querySelector("span").textContent = share + " %";
  }
}
const hear = (event) => {
  if (!element.isConnected) return void window.removeEventListener("pt-pixel", hear);
  pixel = event.detail;
  tellProbabilities();
};
window.addEventListener("pt-pixel", hear);
whenNew(show);
show();
