() => {
  // Gradio's 3D viewers name an empty place on an element without a role, and put their canvas first in the order of
  // the Tab key, without a name. Its notices are titled by their kind, whatever title they were given.
  const TITLES = { Warning: "Please check", Error: "Sorry" };
  let queued = false;
  const mend = () => {
    queued = false;
    for (const empty of document.querySelectorAll(".empty[aria-label]:not([role])")) empty.role = "img";
    for (const canvas of document.querySelectorAll('canvas[tabindex="1"]')) {
      canvas.tabIndex = 0;
      canvas.role = "img";
      canvas.ariaLabel = (canvas.closest(".block")?.querySelector("label")?.textContent.trim() || "3D view") + ", turned by the pointer";
    }
    for (const { firstChild: text } of document.querySelectorAll(".toast-title")) {
      const title = TITLES[text?.data?.trim()];
      if (title) text.data = title + " ";
    }
  };
  new MutationObserver(() => {
    if (!queued) requestAnimationFrame(mend);
    queued = true;
  }).observe(document.body, { childList: true, subtree: true, attributeFilter: ["tabindex"] });
  mend();
}
