const field = find("input[type=number]"), range = find("input[type=range]");
const given = (name) => props[name] ?? find(".pt-log").dataset[name];
const low = () => Number(given("low")), high = () => Number(given("high"));
const span = () => Math.log((high() + 1) / Math.max(1, low()));
const toCount = (part) => Math.round(Math.max(1, low()) * Math.exp(span() * part / 1000)) - (part === 0 && !low() ? 1 : 0);

function show() {
  const count = Number(props.value);
  find(".pt-log-title").textContent = field.ariaLabel = range.ariaLabel = given("title");
  field.min = low();
  field.max = high();
  field.value = count;
  range.value = 1000 * Math.log(Math.max(1, count) / Math.max(1, low())) / span();
  range.ariaValueText = String(count);
}
function set(count, done) {
  if (!Number.isFinite(count)) return show();
  props.value = Math.min(high(), Math.max(low(), Math.round(count)));
  show();
  if (done) trigger("release");
}
range.addEventListener("input", () => set(toCount(Number(range.value)), false));
range.addEventListener("change", () => set(Number(props.value), true));
field.addEventListener("change", () => set(Number(field.value), true));
watch(["value", "low", "high", "title"], show);
show();
