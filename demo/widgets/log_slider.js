const field = find("input[type=number]"), range = find("input[type=range]");
const span = () => Math.log((props.high + 1) / Math.max(1, props.low));
const toCount = (part) => Math.round(Math.max(1, props.low) * Math.exp(span() * part / 1000)) - (part === 0 && !props.low ? 1 : 0);

function show() {
  const count = Number(props.value);
  find(".pt-log-title").textContent = field.ariaLabel = range.ariaLabel = props.title;
  field.min = props.low;
  field.max = props.high;
  field.value = count;
  range.value = 1000 * Math.log(Math.max(1, count) / Math.max(1, props.low)) / span();
  range.ariaValueText = String(count);
}
function set(count, done) {
  if (!Number.isFinite(count)) return show();
  props.value = Math.min(props.high, Math.max(props.low, Math.round(count)));
  show();
  if (done) trigger("release");
}
range.addEventListener("input", () => set(toCount(Number(range.value)), false));
range.addEventListener("change", () => set(Number(props.value), true));
field.addEventListener("change", () => set(Number(field.value), true));
watch(["value", "low", "high", "title"], show);
show();
