// A form made from the JSON Schema of a Cargo's input, and what was filled in, as that input.
import { client, make } from "./page.js";

const LONG = 200;

/** Fields for each property, the required ones first; `place` gets them. */
export class SchemaForm {
  #fields = [];
  #place;
  #rest;

  /** `fold`: what need not be filled in is put away. */
  constructor(place, schema, given = {}, { fold = false } = {}) {
    this.#place = this.#rest = place;
    const required = new Set(schema.required ?? []);
    const properties = Object.entries(schema.properties ?? {});
    const wide = (about) => ["long", "file", "json", "lines"].includes(kindOf(about));
    properties.sort(([a, x], [b, y]) => required.has(b) - required.has(a) || wide(y) - wide(x));
    if (fold && properties.some(([name]) => !required.has(name))) {
      const more = make("details", "more");
      this.#rest = make("div", "fields-made");
      more.append(make("summary", "small", "How it shall be drawn"), this.#rest);
      place.append(more);
    }
    for (const [name, about] of properties) this.#add(name, about, required.has(name), given[name]);
    if (!properties.length) this.#add("", { title: "Input", description: "A JSON object." }, true, given);
  }

  #add(name, about, required, given) {
    const box = make("div", "field");
    const label = make("label", "", about.title || name || "Input");
    const id = `in-${name || "input"}`;
    label.htmlFor = id;
    if (!required) label.append(" ", make("span", "soft", "optional"));
    const kind = kindOf(about);
    const input = KINDS[kind].make(about);
    input.id = id;
    input.dataset.field = name;
    // A file that an example names is nobody's.
    const first = given ?? about.default;
    if (first !== undefined && kind !== "file") KINDS[kind].show(input, first);
    if (required && kind !== "truth") input.required = true;
    box.append(label, input);
    const hint = [about.description, boundsOf(about)].filter(Boolean).join(" ");
    if (hint) {
      const told = make("span", "hint", hint);
      told.id = `${id}-hint`;
      input.setAttribute("aria-describedby", told.id);
      box.append(told);
    }
    const wrong = make("span", "wrong");
    wrong.setAttribute("role", "alert");
    box.append(wrong);
    if (required && this.#rest !== this.#place) this.#rest.parentElement.before(box);
    else this.#rest.append(box);
    this.#fields.push({ name, about, kind, input, wrong });
  }

  /** The input. With `send`, files are uploaded first and named by their ids; else by their names. Null where a field
   * cannot be read: it says so itself. */
  async value({ send = false } = {}) {
    const made = {};
    let right = true;
    for (const { name, kind, input, wrong } of this.#fields) {
      wrong.textContent = "";
      try {
        const value = await KINDS[kind].read(input, send);
        if (value === undefined) continue;
        if (!name) return value;
        made[name] = value;
      } catch (error) {
        right = false;
        if (send) wrong.textContent = error.message;
      }
    }
    return right || !send ? made : null;
  }

  /** Shows what the network found wrong, at the fields that it names; what is left over, as text. */
  refuse(errors) {
    const rest = [];
    for (const [where, reasons] of Object.entries(errors)) {
      const name = where.replace(/^input\./, "").split(".")[0];
      const field = this.#fields.find((one) => one.name === name);
      if (field) field.wrong.textContent = reasons.join("; ");
      else rest.push(`${where} ${reasons.join("; ")}`);
    }
    const first = this.#fields.find((one) => one.wrong.textContent)?.input;
    const folded = first?.closest("details");
    if (folded) folded.open = true;
    first?.focus();
    return rest.join(". ");
  }
}

function kindOf(about) {
  if (about.enum) return "choice";
  if (about.type === "integer" || about.type === "number") return "number";
  if (about.type === "boolean") return "truth";
  if (about.type === "string" && about.format === "file") return "file";
  if (about.type === "string") return about.format === "multiline" || (about.maxLength ?? LONG) > LONG ? "long" : "short";
  if (about.type === "array" && about.items?.type === "string" && about.items.format !== "file") return "lines";
  return "json";
}

function boundsOf({ minimum, maximum, type }) {
  if (type !== "integer" && type !== "number") return "";
  if (maximum > 1e9) return "";
  if (minimum !== undefined && maximum !== undefined) return `From ${read(minimum)} to ${read(maximum)}.`;
  return minimum !== undefined ? `At least ${read(minimum)}.` : maximum !== undefined ? `At most ${read(maximum)}.` : "";
}

/** With narrow spaces between thousands, as on every page. */
const read = (number) => String(number).replace(/^\d{5,}$/, (digits) => digits.replace(/\B(?=(\d{3})+$)/g, "\u202f"));

const plain = (type) => (about) => {
  const input = make("input");
  input.type = type;
  if (about.maxLength) input.maxLength = about.maxLength;
  input.autocomplete = "off";
  return input;
};
const area = (rows) => (about) => {
  const input = make("textarea");
  input.rows = rows;
  if (about.maxLength) input.maxLength = about.maxLength;
  return input;
};
const put = (input, value) => (input.value = value);
const text = (input) => (input.value === "" ? undefined : input.value);

const KINDS = {
  short: { make: plain("text"), show: put, read: text },
  long: { make: area(3), show: put, read: text },
  number: {
    make: (about) => {
      const input = plain("number")({});
      if (about.minimum !== undefined) input.min = about.minimum;
      if (about.maximum !== undefined) input.max = about.maximum;
      input.step = about.type === "integer" ? (about.multipleOf ?? 1) : "any";
      return input;
    },
    show: put,
    read: (input) => (input.value === "" ? undefined : Number(input.value)),
  },
  truth: { make: plain("checkbox"), show: (input, value) => (input.checked = value), read: (input) => input.checked },
  choice: {
    make: (about) => {
      const input = make("select");
      input.append(new Option("–", ""), ...about.enum.map((one) => new Option(String(one), JSON.stringify(one))));
      return input;
    },
    show: (input, value) => (input.value = JSON.stringify(value)),
    read: (input) => (input.value === "" ? undefined : JSON.parse(input.value)),
  },
  lines: {
    make: area(3),
    show: (input, value) => (input.value = value.join("\n")),
    read: (input) => {
      const lines = input.value.split("\n").filter((line) => line.trim());
      return lines.length ? lines : undefined;
    },
  },
  json: {
    make: area(4),
    show: (input, value) => (input.value = JSON.stringify(value, null, 2)),
    read: (input) => {
      if (!input.value.trim()) return undefined;
      try {
        return JSON.parse(input.value);
      } catch {
        throw new Error("this is not JSON");
      }
    },
  },
  file: {
    make: plain("file"),
    show: () => {},
    read: async (input, send) => {
      const [file] = input.files;
      if (!file) return undefined;
      return send ? (await client.uploadFile(file)).id : `the id of ${file.name}`;
    },
  },
};
