// Keeps what is live on a page alive, and says so when the line is lost. Without it the pages work all the same.

const line = document.getElementById("line");
const lost = new Set();

const say = (who, broken) => {
  broken ? lost.add(who) : lost.delete(who);
  if (line) line.hidden = lost.size === 0;
};

// A part that somebody uses just now stays as it is: nothing is taken from under their hands.
const inUse = (part) =>
  part.querySelector("details[open]") !== null ||
  (part.contains(document.activeElement) && document.activeElement !== part);

// Never while somebody is on their way to another page by a form.
let leaving = false;
document.addEventListener("submit", () => (leaving = true));
const again = () => leaving || location.reload();

async function refresh(part, state) {
  const response = await fetch(part.dataset.live, {
    headers: state.etag ? { "If-None-Match": state.etag } : {},
    credentials: "same-origin",
    signal: AbortSignal.timeout(15000),
  });
  // Signed out, not allowed or not there any more: the whole page says so.
  if ([401, 403, 404].includes(response.status)) return again();
  if (response.status === 304) return;
  if (!response.ok) throw new Error(`status ${response.status}`);
  const text = await response.text();
  if (inUse(part)) return;
  state.etag = response.headers.get("ETag") ?? "";
  if (part.innerHTML === text) return;
  part.innerHTML = text;
  part.dispatchEvent(new CustomEvent("refreshed", { bubbles: true }));
}

async function keep(part) {
  const every = Math.max(1, Number(part.dataset.every || 3)) * 1000;
  const state = { etag: "" };
  let wait = every;
  for (;;) {
    await new Promise((done) => setTimeout(done, wait));
    if (!part.isConnected) return;
    if (document.hidden) continue;
    try {
      await refresh(part, state);
      say(part, false);
      wait = every;
    } catch {
      say(part, true);
      // Everybody comes back at once after a restart: not in the same instant.
      wait = Math.min(10000, wait * 1.6) * (0.75 + Math.random() / 2);
    }
  }
}

// A job's answer as it is made. The browser connects again by itself and says what it had read last.
function follow(place) {
  const source = new EventSource(place.dataset.stream);
  const shown = document.createTextNode("");
  source.onopen = () => say(source, false);
  source.onerror = () => say(source, true);
  source.onmessage = (event) => {
    const told = JSON.parse(event.data);
    if (told.type === "token") {
      if (!shown.isConnected) place.replaceChildren(shown);
      shown.data += told.content;
    }
    if (told.type === "progress" && !shown.isConnected) {
      place.textContent = `Step ${told.step} of ${told.total}`;
    }
    if (told.type === "done" || told.type === "error") {
      source.close();
      say(source, false);
      again();
    }
  };
}

function offerCopy(root) {
  for (const place of root.querySelectorAll("[data-copy]")) {
    if (place.querySelector(".copy")) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet slim copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      button.textContent = (await copied(place.querySelector("pre, code"))) ? "Copied" : "Press Ctrl+C";
      setTimeout(() => (button.textContent = "Copy"), 1600);
    });
    place.append(button);
  }
}

/** A page that came by plain HTTP has no clipboard: there the text is marked, and the browser is told to copy. */
async function copied(from) {
  if (navigator.clipboard) return navigator.clipboard.writeText(from.textContent).then(() => true, () => marked(from));
  return marked(from);
}

function marked(from) {
  getSelection().selectAllChildren(from);
  return document.execCommand("copy");
}

for (const part of document.querySelectorAll("[data-live]")) keep(part);
for (const place of document.querySelectorAll("[data-stream]")) follow(place);
document.addEventListener("refreshed", (event) => offerCopy(event.target));
for (const select of document.querySelectorAll("form[data-at-once] select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}
offerCopy(document);
