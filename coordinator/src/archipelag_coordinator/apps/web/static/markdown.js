// What a model said, as Markdown that can do no harm: HTML in it is shown as text, what the parser makes is sanitized
// by a list of what may be there, and pictures from elsewhere are links. Drawn piece by piece while it comes.
import { DOMPurify, hljs, Marked } from "./vendor/parts.js";

const HIGHLIGHTED_MAX = 20000;
const ALIASES = { js: "javascript", ts: "typescript", py: "python", sh: "bash", shell: "bash", html: "xml", yml: "yaml", "c++": "cpp", c: "cpp", rs: "rust", golang: "go", jsx: "javascript", tsx: "typescript" };
const TAGS = ["a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"];
const CLASS = /^(hljs(-[a-z_-]+)?|language_|function_|class_|inherited__|has-numbers)$/;

const escape = (text) => text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => escape(text),
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
    code: ({ text, lang }) => {
      const named = (lang ?? "").trim().split(/\s/)[0].toLowerCase();
      const language = ALIASES[named] ?? named;
      const known = hljs.getLanguage(language) && text.length <= HIGHLIGHTED_MAX;
      const inner = known ? hljs.highlight(text, { language, ignoreIllegals: true }).value : escape(text);
      return `<pre><code class="hljs">${inner}</code></pre>`;
    },
  },
});

const purify = DOMPurify(window);
purify.addHook("uponSanitizeAttribute", (_, data) => {
  if (data.attrName === "class")
    data.attrValue = data.attrValue.split(/\s+/).filter((one) => CLASS.test(one)).join(" ");
});
purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A") return;
  // A link says where it leads, and tells nobody where it stood.
  node.setAttribute("rel", "noopener noreferrer nofollow");
  node.setAttribute("target", "_blank");
});

const fragment = (markdown) =>
  purify.sanitize(markdown, {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ["href", "class", "start", "align"],
    ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });

/** The harmless nodes of a Markdown text. */
export const harmless = (text) => fragment(marked.parse(text));

/** Draws a growing text into `place`: only the pieces that changed are drawn anew. */
export class Drawing {
  #place;
  #drawn = [];
  #text = "";
  #asked = false;

  constructor(place) {
    this.#place = place;
  }

  /** Draws at the next frame, whatever comes until then. */
  grow(text) {
    this.#text = text;
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      this.#draw();
    });
  }

  /** Draws the whole at once, with what a finished text has: a copy button at each piece of code. */
  finish(text) {
    this.#text = text;
    this.#draw();
    for (const pre of this.#place.querySelectorAll("pre")) addCopy(pre);
  }

  #draw() {
    const tokens = marked.lexer(this.#text);
    const links = tokens.links;
    tokens.forEach((token, index) => {
      const before = this.#drawn[index];
      if (before?.raw === token.raw) return;
      const one = Object.assign([token], { links });
      const box = document.createElement("div");
      box.append(fragment(marked.parser(one)));
      before ? before.box.replaceWith(box) : this.#place.append(box);
      this.#drawn[index] = { raw: token.raw, box };
    });
    for (const gone of this.#drawn.splice(tokens.length)) gone.box.remove();
  }
}

function addCopy(pre) {
  if (pre.parentElement.classList.contains("copyable")) return;
  const box = document.createElement("div");
  box.className = "copyable";
  pre.replaceWith(box);
  pre.tabIndex = 0;
  pre.setAttribute("role", "region");
  pre.setAttribute("aria-label", "Code");
  box.append(pre, copyButton(() => pre.textContent));
}

/** A button that copies what `text` says. */
export function copyButton(text, label = "Copy") {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet slim copy";
  button.textContent = label;
  button.addEventListener("click", async () => {
    await copied(text());
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = label), 1600);
  });
  return button;
}

/** Copies, also where a page that came by plain HTTP has no clipboard. */
async function copied(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
