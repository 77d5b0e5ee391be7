// Hours of a week: arrows move, Shift and arrows paint, and so does a pointer that is held down. Without it each hour is a
// box of its own.
for (const table of document.querySelectorAll("[data-week]")) {
  const boxes = [...table.querySelectorAll("input")];
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 24, ArrowUp: -24 };

  // One stop for the Tab key; the arrows do the rest.
  const stop = (box) => {
    for (const one of boxes) one.tabIndex = one === box ? 0 : -1;
  };
  stop(boxes[0]);
  table.addEventListener("focusin", (event) => boxes.includes(event.target) && stop(event.target));
  table.addEventListener("keydown", (event) => {
    const at = boxes.indexOf(event.target);
    const next = at < 0 || !(event.key in steps) ? undefined : boxes[at + steps[event.key]];
    if (!next) return;
    event.preventDefault();
    if (event.shiftKey) next.checked = boxes[at].checked;
    next.focus();
  });

  // What is painted: what the first box was not. Leaving that one paints it too, and then its click is no second turn.
  let paint = null;
  let left = false;
  const put = (target) => {
    const box = paint === null ? null : target.closest?.("td")?.querySelector("input");
    if (box) box.checked = paint;
  };
  table.addEventListener("pointerdown", (event) => {
    const box = event.target.closest?.("td")?.querySelector("input");
    paint = box && event.pointerType === "mouse" && event.button === 0 ? !box.checked : null;
    left = false;
  });
  table.addEventListener("pointerout", (event) => {
    if (paint !== null && event.buttons) left = true;
    if (left) put(event.target);
  });
  table.addEventListener("pointerover", (event) => left && put(event.target));
  table.addEventListener("click", (event) => left && event.preventDefault());
  addEventListener("pointerup", () => (paint = null));
}
