// The chat: asks over the public API, shows answers as they come, and goes on where it was after a reload.
import { Answer, question } from "./answer.js";
import { ask, client, credits, make, newKey, words } from "./page.js";
import { Talks } from "./talks.js";

const $ = (id) => document.getElementById(id);
const chat = $("chat");
const said = $("said");
const scroller = $("scroller");
const box = $("question");
const model = $("model");
const talks = new Talks();
const MODEL_KEPT = "archipelag.model";

let talk = null; // The conversation that is shown, as the API tells it.
let parameters = {};
let running = null; // The answer that is being written, and how to leave off watching it.
let pending = null; // A question that was sent and not yet answered for, with its key.
let busy = false;

// Reading ---------------------------------------------------------------------------------------------------------

async function open(id, { push = false } = {}) {
  leave();
  busy = false;
  talk = null;
  said.replaceChildren();
  trouble("");
  if (push) history.pushState({}, "", id ? `/chat/${id}` : "/chat");
  talks.mark(id);
  showTalks(false);
  if (!id) {
    parameters = {};
    shown();
    box.focus();
    return;
  }
  $("welcome").hidden = true;
  chat.setAttribute("aria-busy", "true");
  try {
    const { data } = await ask("GET", `/conversations/${id}`);
    draw(data);
  } catch (error) {
    trouble(error.name === "NotFoundError" ? "This conversation is not there (any more)." : words(error));
  } finally {
    chat.removeAttribute("aria-busy");
  }
}

function draw(data, { stay = false } = {}) {
  talk = data;
  parameters = data.parameters;
  if (data.model) choose(data.model);
  const items = data.messages.map((message) => {
    if (message.role === "user") return question(message, acts);
    const answer = new Answer(message, acts);
    if (message.status === "writing" && message.job_id) watch(answer);
    return answer.item;
  });
  said.replaceChildren(...items);
  shown();
  if (!stay) toEnd(true);
}

function shown() {
  $("welcome").hidden = said.children.length > 0;
  $("talk-menu").hidden = talk === null;
  $("title").textContent = talk?.title || "New chat";
  document.title = `${talk?.title || "Chat"} · Archipelag`;
  $("open-parameters").classList.toggle("set", Object.keys(parameters).length > 0);
  if (talk)
    for (const format of ["markdown", "json"])
      $(`export-${format}`).href = `/api/v1/conversations/${talk.id}/export?format=${format}`;
  state();
}

function state() {
  $("stop").hidden = running === null;
  $("send").hidden = running !== null;
  $("send").disabled = busy || !model.value;
}

// Asking ----------------------------------------------------------------------------------------------------------

const acts = {
  edit: (number, text) => asking(`messages/${number}/edit`, text, number),
  again: (number) => asking(`messages/${number}/regenerate`, null, number),
  version: (number) => turnTo(number),
  grown: () => toEnd(false),
  told: (text) => heard(text),
};

async function asking(path, text, number = 0) {
  if (busy) return;
  busy = true;
  trouble("");
  state();
  try {
    if (running) await stop();
    // The same once more after it failed on the way has the same key: it is asked once.
    const same = pending && pending.text === text && pending.path === path && pending.talk === (talk?.id ?? "");
    if (!same) pending = { text, path, talk: talk?.id ?? "", key: newKey(), begin: newKey() };
    if (!talk) {
      const { data } = await ask("POST", "/conversations", { json: { model: model.value, parameters }, key: pending.begin });
      talk = { ...data, messages: [] };
      pending.talk = talk.id;
      history.replaceState({}, "", `/chat/${talk.id}`);
    }
    const json = { model: model.value, parameters };
    if (text !== null) json.content = text;
    const before = Number(said.lastElementChild?.dataset.number ?? 0);
    if (!number && before) json.after = before;
    const { data } = await ask("POST", `/conversations/${talk.id}/${path}`, { json, key: pending.key });
    pending = null;
    talk = { ...talk, ...data.conversation };
    if (number) cutFrom(text === null ? data.answer.parent + 1 : number);
    if (text !== null) {
      said.append(question(data.message, acts));
      if (box.value === text) clearBox();
    }
    const answer = new Answer(data.answer, acts);
    said.append(answer.item);
    watch(answer);
    shown();
    toEnd(true);
    talks.mark(talk.id);
    talks.load();
  } catch (error) {
    trouble(words(error), error.name === "InsufficientCreditsError");
  } finally {
    busy = false;
    state();
  }
}

/** Shows the branch in which another version stands; what is asked next goes on from there. */
async function turnTo(number) {
  if (busy || running) return;
  trouble("");
  try {
    const { data } = await ask("GET", `/conversations/${talk.id}`, { query: { through: number } });
    draw(data, { stay: true });
    const item = [...said.children].find((one) => Number(one.dataset.number) === number);
    item?.scrollIntoView({ block: "nearest" });
    const place = data.messages.find((one) => one.number === number);
    heard(`Version ${place.versions.indexOf(number) + 1} of ${place.versions.length}`);
    item?.querySelector(".versions button:not(:disabled)")?.focus({ preventScroll: true });
  } catch (error) {
    trouble(words(error));
  }
}

/** Takes what another branch takes the place of off the page. */
function cutFrom(number) {
  for (const item of [...said.children]) if (Number(item.dataset.number) >= number) item.remove();
}

async function watch(answer) {
  const leaving = new AbortController();
  running = { answer, leaving };
  state();
  const mine = talk?.id ?? "";
  const ended = await answer.watch(leaving.signal);
  if (running?.answer === answer) running = null;
  state();
  if (!ended) return;
  try {
    const { data } = await ask("GET", `/conversations/${mine || talk.id}`);
    const message = data.messages.find((one) => one.number === Number(answer.item.dataset.number));
    if (message) answer.settle(message);
    const asked = data.messages.find((one) => one.number === message?.parent);
    const item = [...said.children].find((one) => Number(one.dataset.number) === asked?.number);
    // Only now is it known that it stands in the place of others.
    if (asked?.versions.length > 1 && item && !item.querySelector("form")) item.replaceWith(question(asked, acts));
    if (message?.content) heard(message.content.slice(0, 2000));
    toEnd(false);
    purse();
    if (talk?.id === data.id) box.focus({ preventScroll: true });
  } catch (error) {
    trouble(words(error));
  }
}

async function stop() {
  const { answer } = running ?? {};
  if (!answer?.jobId) return;
  try {
    await client.cancelJob(answer.jobId);
  } catch (error) {
    trouble(words(error));
  }
  // Its stream tells of the end, and the page of what was kept.
  while (running?.answer === answer) await new Promise((done) => setTimeout(done, 50));
}

function leave() {
  running?.leaving.abort();
  running = null;
}

// Small things ----------------------------------------------------------------------------------------------------

function trouble(text, poor = false) {
  const place = $("trouble");
  place.hidden = !text;
  place.firstElementChild.replaceChildren(make("p", "", text));
  if (poor) {
    const link = make("a", "", "Your credits");
    link.href = "/credits";
    place.firstElementChild.append(link);
  }
}

let last = "";
function heard(text) {
  if (text === last) return;
  last = text;
  $("heard").textContent = text;
}

/** How much there is to spend, with a word when it runs low. */
async function purse() {
  try {
    const { data } = await ask("GET", "/account");
    tellPurse(data.available);
  } catch {
    // It stands in the credits room.
  }
}

function tellPurse(available) {
  const place = $("credits");
  const low = Number(available) < 1;
  place.className = low ? "low" : "";
  place.replaceChildren(make("span", "", `${credits(available)} credits`));
  if (low) {
    const link = make("a", "", "running low");
    link.href = "/credits";
    place.append(" – ", link);
  }
}

function nearEnd() {
  return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 120;
}

let following = true;
function toEnd(force) {
  if (force) following = true;
  if (!following) {
    $("to-end").hidden = nearEnd();
    return;
  }
  requestAnimationFrame(() => {
    scroller.scrollTop = scroller.scrollHeight;
    $("to-end").hidden = true;
  });
}

scroller.addEventListener("scroll", () => {
  following = nearEnd();
  $("to-end").hidden = following || !said.children.length;
}, { passive: true });
$("to-end").addEventListener("click", () => toEnd(true));

function fit() {
  box.rows = 1;
  const lines = Math.round((box.scrollHeight - 16) / parseFloat(getComputedStyle(box).lineHeight));
  box.rows = Math.min(9, Math.max(1, lines));
}

function clearBox() {
  box.value = "";
  fit();
}

function choose(name) {
  if ([...model.options].some((option) => option.value === name)) model.value = name;
  const chosen = model.selectedOptions[0];
  if (!chosen) return;
  $("p-max").placeholder = chosen.dataset.tokens;
  $("p-max").max = chosen.dataset.tokensMax;
}

function showTalks(open) {
  $("talks").classList.toggle("open", open);
  $("open-talks").setAttribute("aria-expanded", String(open));
  if (open) $("search").focus();
}

// Parameters and dialogs ------------------------------------------------------------------------------------------

const dialog = $("parameters");
const number = (id) => ($(id).value === "" ? undefined : Number($(id).value));

$("open-parameters").addEventListener("click", () => {
  $("p-system").value = parameters.system_prompt ?? "";
  $("p-temperature").value = parameters.temperature ?? "";
  $("p-max").value = parameters.max_tokens ?? "";
  $("p-seed").value = parameters.seed ?? "";
  $("parameters-wrong").textContent = "";
  dialog.showModal();
});
dialog.querySelector("form").addEventListener("submit", async (event) => {
  if (event.submitter?.value !== "keep") return;
  event.preventDefault();
  const { system_prompt, temperature, max_tokens, seed, ...rest } = parameters;
  const wanted = {
    ...rest,
    system_prompt: $("p-system").value.trim() || undefined,
    temperature: number("p-temperature"),
    max_tokens: number("p-max"),
    seed: number("p-seed"),
  };
  const kept = Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== undefined));
  try {
    if (talk) await ask("PATCH", `/conversations/${talk.id}`, { json: { parameters: kept } });
    parameters = kept;
    shown();
    dialog.close();
  } catch (error) {
    $("parameters-wrong").textContent = words(error);
  }
});

$("rename").addEventListener("click", () => {
  $("talk-menu").open = false;
  $("new-title").value = talk.title;
  $("renaming").showModal();
});
$("renaming").querySelector("form").addEventListener("submit", async (event) => {
  if (event.submitter?.value !== "keep") return;
  try {
    const { data } = await ask("PATCH", `/conversations/${talk.id}`, { json: { title: $("new-title").value } });
    talk = { ...talk, ...data };
    shown();
    talks.load();
  } catch (error) {
    trouble(words(error));
  }
});
$("delete").addEventListener("click", () => {
  $("talk-menu").open = false;
  $("deleting").showModal();
});
$("deleting").querySelector("form").addEventListener("submit", async (event) => {
  if (event.submitter?.value !== "delete") return;
  try {
    await ask("DELETE", `/conversations/${talk.id}`);
    await open("", { push: true });
    talks.load();
  } catch (error) {
    trouble(words(error));
  }
});

// What a person does ------------------------------------------------------------------------------------------------

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (box.value.trim() && !running) asking("messages", box.value);
});
box.addEventListener("input", fit);
box.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("composer").requestSubmit();
});
$("stop").addEventListener("click", stop);
model.addEventListener("change", () => {
  choose(model.value);
  localStorage.setItem(MODEL_KEPT, model.value);
});
for (const idea of document.querySelectorAll(".idea"))
  idea.addEventListener("click", () => {
    box.value = idea.dataset.text;
    fit();
    box.focus();
  });
$("open-talks").addEventListener("click", () => showTalks(!$("talks").classList.contains("open")));
$("close-talks").addEventListener("click", () => showTalks(false));

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    if ($("talks").classList.contains("open")) showTalks(false);
    else if (running) stop();
  }
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    talks.focus();
  }
});
document.addEventListener("click", (event) => {
  if (!$("talk-menu").contains(event.target)) $("talk-menu").open = false;
  const link = event.target.closest?.("#talk-list a, #new-talk");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
  event.preventDefault();
  open(link.dataset.id ?? "", { push: true });
});
addEventListener("popstate", () => open(location.pathname.split("/")[2] ?? ""));

choose(localStorage.getItem(MODEL_KEPT) ?? model.value);
tellPurse(String(Number(chat.dataset.available) / 1e6));
talks.load();
open(chat.dataset.conversation);
