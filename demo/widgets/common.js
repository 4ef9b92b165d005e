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
// What is shown is new where it answers the last change, if it says which one it answers.
const upToDate = (edition = props.edition) => {
  const part = element.closest("[data-stale]");
  if (part && (edition ?? Infinity) >= part.dataset.stale) delete part.dataset.stale;
};
