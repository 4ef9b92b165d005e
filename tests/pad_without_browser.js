// The pad's script without a browser: a document of stubs, strokes as pointer events, and what the pad sends, as JSON.
const fs = require("fs");
const code = process.argv.slice(2).map((file) => fs.readFileSync(file, "utf8")).join("\n");
const still = new Proxy({}, { get: () => () => {}, set: () => true });
const stub = () => {
  const made = {
    listeners: {}, dataset: {}, style: {}, value: "3", checked: true, width: 512, height: 512, parentElement: {},
    addEventListener(name, call) { made.listeners[name] = call; },
    getContext: () => still, replaceChildren() {}, append() {}, focus() {}, setPointerCapture() {},
    getBoundingClientRect: () => ({ left: 0, top: 0, width: 320, height: 320 }),
  };
  return made;
};
const parts = {}, events = [], steps = {};
const element = { querySelector: (name) => (parts[name] ??= stub()), querySelectorAll: () => [], closest: () => null };
global.document = { createElement: stub };
global.requestAnimationFrame = (call) => call();
const empty = (checkpoint, side) => ({ grid: [side, side], cells: [], colours: "", dabs: [], dab_colours: "", checkpoint, source: "" });
const props = { value: empty("cats", 32), channels: 3, largest: 8, picture: "", mark: -1 };
let reload;
new Function("element", "props", "trigger", "watch", code)(element, props, (name) => events.push(name), (_, call) => { reload = call; });
const canvas = parts.canvas.listeners, brush = parts[".pt-brush input"], paper = parts[".pt-paper input"];
const act = (name) => { parts["[data-act=" + name + "]"].listeners.click(); reload(); };
const at = (x, y) => ({ button: 0, preventDefault() {}, pointerId: 1, clientX: 10 * x + 5, clientY: 10 * y + 5 });
const stroke = (...places) => {
  canvas.pointerdown(at(...places[0]));
  for (const place of places.slice(1)) canvas.pointermove(at(...place));
  canvas.pointerup({});
};
const note = (name) => {
  const { dabs, cells, ink, paper, checkpoint } = props.value;
  steps[name] = { dabs, cells: cells.length, ink: ink?.length, paper: paper?.length, checkpoint, event: events.at(-1) };
};
brush.value = "4"; stroke([16, 16]); note("a dab");
brush.value = "2"; stroke([16, 16]); note("a smaller dab on it");
brush.value = "4"; stroke([16, 16]); note("the same dab again");
act("undo"); note("undo");
act("redo"); note("redo");
brush.value = "8"; act("clear"); stroke([8, 8]); brush.value = "2"; stroke([5, 5]); note("a corner of a large dab");
props.value = empty("digits", 28); Object.assign(props, { channels: 1, largest: 4 }); reload();
act("undo"); note("undo a model");
act("redo"); note("redo a model");
brush.value = "3"; stroke([14, 14]); note("ink");
paper.checked = false; paper.listeners.change(); note("no paper");
props.value = empty("cats", 32); Object.assign(props, { channels: 3, largest: 8 }); reload();
stroke(...Array.from({ length: 10 }, (_, step) => [5 + step, 5])); note("a stroke");
console.log(JSON.stringify(steps));
process.exit(0);
