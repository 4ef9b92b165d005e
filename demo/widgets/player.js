const box = find(".pt-clips"), button = find("button"), bar = find("input");
let frame = 0, playing = !matchMedia("(prefers-reduced-motion: reduce)").matches, images = [];

function paint() {
  const count = props.value?.frames || 1;
  images.forEach((image, index) => {
    const canvas = box.children[index]?.querySelector("canvas");
    if (!canvas || !image.complete || !image.naturalWidth) return;
    const high = image.naturalHeight / count;
    if (canvas.width !== image.naturalWidth) canvas.width = image.naturalWidth;
    if (canvas.height !== high) canvas.height = high;
    canvas.getContext("2d").drawImage(image, 0, frame * high, canvas.width, high, 0, 0, canvas.width, high);
  });
  bar.value = frame;
}
function show() {
  const clips = props.value?.clips || [];
  bar.max = (props.value?.frames || 1) - 1;
  while (box.children.length > clips.length) box.lastChild.remove();
  images = clips.map((clip, index) => {
    if (!box.children[index]) {
      const figure = document.createElement("figure");
      figure.innerHTML = '<canvas role="img"></canvas><figcaption></figcaption>';
      box.append(figure);
    }
    const figure = box.children[index];
    figure.dataset.name = clip.name;
    figure.querySelector("canvas").ariaLabel = clip.text;
    figure.querySelector("figcaption").textContent = clip.name;
    const image = new Image();
    image.onload = paint;
    image.src = clip.url;
    return image;
  });
}
function state() {
  button.textContent = playing ? "Pause" : "Play";
  button.ariaPressed = playing;
}
button.addEventListener("click", () => { playing = !playing; state(); });
bar.addEventListener("input", () => { playing = false; frame = Number(bar.value); state(); paint(); });
const timer = setInterval(() => {
  if (!element.isConnected) return clearInterval(timer);
  if (!playing || !props.value || !element.offsetParent) return;  // nobody sees it in another tab
  frame = (frame + 1) % props.value.frames;
  paint();
}, 180);
const isNew = () => upToDate(props.value?.name);
whenNew(() => { isNew(); show(); });
watch("wanted", isNew);
state();
show();
