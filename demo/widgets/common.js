// Shared by the widgets: notices of a paused visitor, and moving about a grid by keyboard.
const later = (milliseconds, call) => {
  let timer = null;
  const run = () => { clearTimeout(timer); timer = setTimeout(call, milliseconds); };
  run.cancel = () => clearTimeout(timer);
  return run;
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const find = (name) => element.querySelector(name);
const save = (href, name) => {
  const link = document.createElement("a");
  link.href = href;
  link.download = name;
  link.click();
};
const whenNew = (call) => watch(["value", "stamp"], call);
// What is shown is new where it answers the last change. What takes long to draw has a name, and `wanted` says which
// change asked for that; anything else says itself which change it answers, or is always new.
const upToDate = (name) => {
  const edition = name === undefined ? props.edition : props.wanted?.name === name ? props.wanted.edition : -1;
  const part = element.closest("[data-stale]");
  if (part && (edition ?? Infinity) >= part.dataset.stale) delete part.dataset.stale;
};
