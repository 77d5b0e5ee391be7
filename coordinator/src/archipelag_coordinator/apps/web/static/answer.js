// One message as it is shown: a question that can be edited, or an answer with its state, its figures and its acts.
import { copyButton, Drawing } from "./markdown.js";
import { client, credits, follow, make, words } from "./page.js";

const LOOK_MS = 2500;

/** A question. `acts.edit(number, text)` asks something else in its place. */
export function question(message, acts) {
  const item = make("li", "message asked");
  item.dataset.number = message.number;
  const text = make("div", "bubble", message.content);
  const row = make("div", "acts");
  const edit = make("button", "plain small", "Edit");
  edit.type = "button";
  edit.addEventListener("click", () => editing(item, text, message, acts));
  row.append(copyButton(() => message.content), edit, versionsOf(message, acts));
  item.append(make("span", "only-read", "You asked:"), text, row);
  return item;
}

function editing(item, text, message, acts) {
  if (item.querySelector("form")) return;
  const form = make("form", "edit stack");
  const area = make("textarea");
  area.value = message.content;
  area.maxLength = 32000;
  area.rows = Math.min(8, message.content.split("\n").length + 1);
  area.setAttribute("aria-label", "The question, to be asked anew");
  const row = make("div", "row");
  const send = make("button", "slim", "Ask anew");
  const leave = make("button", "quiet slim", "Never mind");
  leave.type = "button";
  const close = () => {
    form.remove();
    text.hidden = false;
  };
  leave.addEventListener("click", close);
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      close();
    }
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (area.value.trim()) acts.edit(message.number, area.value);
  });
  row.append(send, leave);
  form.append(area, row);
  text.hidden = true;
  text.after(form);
  area.focus();
}

/** An answer: as it was, or as it comes. */
export class Answer {
  item = make("li", "message answered");
  text = "";
  island = "";
  #body = make("div", "prose");
  #state = make("p", "state small");
  #foot = make("div", "acts");
  #drawing = new Drawing(this.#body);
  #message;
  #acts;
  #moved = false;

  constructor(message, acts) {
    this.#message = message;
    this.#acts = acts;
    this.item.dataset.number = message.number;
    this.item.append(make("span", "only-read", "The answer:"), this.#body, this.#state, this.#foot);
    message.status === "writing" ? this.#say("Asking…", true) : this.settle(message);
  }

  get jobId() {
    return this.#message.job_id;
  }

  /** Shows the answer as it comes, to its end; true once it has ended. Leaves off when `signal` says so. */
  async watch(signal) {
    const looking = new AbortController();
    signal.addEventListener("abort", () => looking.abort(), { once: true });
    const look = this.#look(looking.signal);
    const since = performance.now();
    try {
      for await (const event of follow(this.jobId, signal)) {
        if (event.type === "token") {
          if (!this.text) this.firstMs = performance.now() - since;
          this.text += event.content;
          this.#drawing.grow(this.text);
          this.#say(this.#doing(), true);
          this.#acts.grown();
        }
        if (event.type === "status") this.#told(event);
        if (event.type === "progress" && !this.text)
          this.#say(event.total ? `Reading your question: ${event.step} of ${event.total}` : "Reading your question", true);
      }
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      this.#say(words(error), false, "bad");
      return true;
    } finally {
      looking.abort();
      await look;
    }
  }

  /** How it ended: the text, the figures, and what can be done with it. */
  settle(message) {
    this.#message = message;
    this.text = message.content || (message.status === "failed" ? this.text : "");
    this.#drawing.finish(this.text);
    this.item.classList.add("settled");
    const { figures, status } = message;
    if (status === "failed") this.#say(message.error || "This answer failed. It cost nothing.", false, "bad");
    else if (status === "cancelled") this.#say("Stopped. You pay for what was delivered until then.", false, "warn");
    else if (figures?.finish_reason === "length") this.#say("It reached its limit of tokens: raise it under Settings, or say “go on”.", false, "warn");
    else this.#state.hidden = true;
    const again = make("button", "plain small", "Regenerate");
    again.type = "button";
    again.addEventListener("click", () => this.#acts.again(message.number));
    this.#foot.replaceChildren();
    if (this.text) this.#foot.append(copyButton(() => this.text));
    this.#foot.append(again, versionsOf(message, this.#acts), figuresOf(message, this.firstMs));
  }

  #doing() {
    if (this.#moved) return `Moved to ${this.island}`;
    if (!this.island) return this.text ? "Answering" : "Starting on an Island";
    return this.text ? `${this.island} answers` : `On ${this.island}`;
  }

  #told(event) {
    if (event.content !== "queued") return this.text || this.#say(this.#doing(), true);
    const reasons = (event.reasons ?? []).join("; ");
    this.#say(reasons ? `Waiting for an Island: ${reasons}` : "Waiting for an Island", true);
  }

  /** Which Island has it, and whether it moved: looked up now and then while it lasts. */
  async #look(signal) {
    for (;;) {
      await new Promise((done) => {
        const timer = setTimeout(done, this.island ? LOOK_MS : 400);
        const over = () => {
          clearTimeout(timer);
          done();
        };
        signal.addEventListener("abort", over, { once: true });
      });
      if (signal.aborted) return;
      try {
        const job = await client.getJob(this.jobId, { signal });
        const last = job.attempts?.at(-1);
        if (!last || job.status !== "running") continue;
        const moved = job.attempts.length > 1 && this.island && this.island !== last.island;
        this.island = last.island ?? "";
        if (moved) this.#moved = true;
        this.#say(this.#doing(), true);
      } catch {
        // The stream says when something is wrong.
      }
    }
  }

  #say(text, busy, tone = "") {
    const shown = `${busy ? "busy " : ""}${tone}`.trim();
    if (this.#state.textContent === text && this.#state.dataset.tone === shown) return;
    this.#state.hidden = false;
    this.#state.textContent = text;
    this.#state.dataset.tone = shown;
    this.#acts.told?.(text);
  }
}

/** Which of several in the same place this one is, and the way to the others; nothing where it is alone. */
function versionsOf(message, acts) {
  const numbers = message.versions ?? [];
  if (numbers.length < 2) return "";
  const at = numbers.indexOf(message.number);
  const line = make("span", "versions soft small", `version ${at + 1} of ${numbers.length}`);
  const step = (sign, name, number) => {
    const button = make("button", "plain small", sign);
    button.type = "button";
    button.setAttribute("aria-label", name);
    button.disabled = number === undefined;
    button.addEventListener("click", () => acts.version(number));
    return button;
  };
  line.prepend(step("‹", "The version before", numbers[at - 1]));
  line.append(step("›", "The version after", numbers[at + 1]));
  return line;
}

function figuresOf({ figures, job_id }, firstMs) {
  const list = make("ul", "told small");
  if (!figures || !job_id) return list;
  const first = figures.first_token_ms ?? firstMs;
  const add = (text, title) => {
    const one = make("li", "", text);
    one.title = title;
    list.append(one);
  };
  if (figures.island) {
    const one = make("li");
    const link = make("a", "", figures.island);
    link.href = `/jobs/${job_id}`;
    link.title = figures.attempts > 1 ? `The Island that finished it, of ${figures.attempts} that had it: see why` : "The Island that answered: see why";
    one.append(link);
    list.append(one);
  }
  if (first != null) add(`first token ${(first / 1000).toFixed(first < 1000 ? 2 : 1)} s`, "From the question to the first token");
  if (figures.tokens_per_s) add(`${figures.tokens_per_s.toFixed(figures.tokens_per_s < 10 ? 1 : 0)} tokens/s`, `${figures.tokens} tokens`);
  add(`${credits(figures.credits_used)} credits`, `What it cost: ${figures.credits_used} credits`);
  if (figures.attempts > 1) add(`moved ${figures.attempts - 1}×`, "Islands went away while they answered, and others went on");
  return list;
}
