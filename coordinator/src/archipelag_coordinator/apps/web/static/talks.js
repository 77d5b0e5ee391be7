// The list of conversations: newest first, searched as one types, a page at a time.
import { ask, make, words } from "./page.js";

const PAGE = 40;
const TYPING_MS = 180;

export class Talks {
  #list = document.getElementById("talk-list");
  #search = document.getElementById("search");
  #current = "";
  #timer;
  #turn = 0;
  #shown = 0;

  constructor() {
    this.#search.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.load(), TYPING_MS);
    });
    this.#search.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.#search.value = "";
      this.load();
    });
  }

  focus() {
    this.#search.focus();
    this.#search.select();
  }

  mark(id) {
    this.#current = id;
    for (const link of this.#list.querySelectorAll("a"))
      link.dataset.id === id ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }

  /** From the beginning, or what follows. An older answer that comes late is dropped. */
  async load(more = false) {
    const turn = ++this.#turn;
    const search = this.#search.value.trim();
    const offset = more ? this.#shown : 0;
    try {
      const { data, meta } = await ask("GET", "/conversations", { query: { limit: PAGE, offset, search: search || undefined } });
      if (turn !== this.#turn) return;
      if (!more) this.#list.replaceChildren();
      this.#list.querySelector(".more-talks")?.remove();
      this.#draw(data);
      this.#shown = offset + data.length;
      if (!meta.total) this.#list.append(make("p", "soft small none", search ? "Nothing has these words." : "What you ask is kept here."));
      if (this.#shown < meta.total) this.#offerMore();
    } catch (error) {
      if (turn === this.#turn) this.#list.replaceChildren(make("p", "soft small none", words(error)));
    }
    this.mark(this.#current);
  }

  #draw(talks) {
    for (const talk of talks) {
      const day = dayOf(talk.updated_at);
      let group = [...this.#list.querySelectorAll("section")].find((one) => one.dataset.day === day);
      if (!group) {
        group = make("section");
        group.dataset.day = day;
        group.append(make("h2", "", day), make("ul"));
        this.#list.append(group);
      }
      const link = make("a", "", talk.title || "New chat");
      link.href = `/chat/${talk.id}`;
      link.dataset.id = talk.id;
      const item = make("li");
      item.append(link);
      group.lastElementChild.append(item);
    }
  }

  #offerMore() {
    const button = make("button", "plain small more-talks", "Older ones");
    button.type = "button";
    button.addEventListener("click", () => this.load(true));
    this.#list.append(button);
  }
}

function dayOf(text) {
  const midnight = new Date();
  midnight.setHours(0, 0, 0, 0);
  const days = Math.ceil((midnight - new Date(text)) / 86400000);
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  return days <= 7 ? "The last week" : "Earlier";
}
