// Pictures: asked for, watched while they are drawn, and kept in a gallery.
import { SchemaForm } from "./form.js";
import { client, make, words } from "./page.js";
import { picture } from "./result.js";
import { run } from "./running.js";

const $ = (id) => document.getElementById(id);
const painters = JSON.parse($("making")?.dataset.painters ?? "[]");
const form = $("paint");
let fields;
let painter;

function choose(slug) {
  painter = painters.find((one) => one.slug === slug) ?? painters[0];
  $("fields").replaceChildren();
  fields = new SchemaForm($("fields"), painter.schema, painter.example, { fold: true });
}

async function paint(event) {
  event.preventDefault();
  const leaving = new AbortController();
  $("trouble").hidden = true;
  $("paint-now").disabled = true;
  try {
    const input = await fields.value({ send: true });
    if (input === null) return;
    $("easel").hidden = false;
    $("preview").replaceChildren(make("div", "blank"));
    let jobId = "";
    $("leave").onclick = () => jobId && client.cancelJob(jobId).catch(() => {});
    const job = await run(painter.slug, input, {
      signal: leaving.signal,
      made: (made) => (jobId = made.id),
      tell: (text) => ($("doing").textContent = text),
      onProgress: ({ step, total, imageData, format }) => {
        if (total) Object.assign($("steps"), { max: total, value: step });
        const shown = imageData && picture(imageData, format, "How it looks so far");
        if (shown) $("preview").replaceChildren(shown);
      },
    });
    if (job.status !== "completed") throw new Error(job.error || `The job is ${job.status}.`);
    await shelve();
    $("easel").hidden = true;
    $("heard").textContent = "The picture is there.";
  } catch (error) {
    const rest = error.errors ? fields.refuse(error.errors) : words(error);
    $("easel").hidden = true;
    if (rest) {
      $("trouble").hidden = false;
      $("trouble").firstElementChild.textContent = rest;
    }
  } finally {
    $("paint-now").disabled = false;
  }
}

/** The newest pictures, or those that follow; each is fetched from its job when it comes into sight. */
async function shelve(offset = 0) {
  const response = await fetch(`/images/drawn?offset=${offset}`);
  if (!response.ok) throw new Error(`Your pictures cannot be listed now (${response.status}).`);
  const { pictures, more } = await response.json();
  const frames = pictures.map(frame);
  offset ? $("gallery").append(...frames) : $("gallery").replaceChildren(...frames);
  $("no-pictures").hidden = $("gallery").children.length > 0;
  $("more-pictures").hidden = !more;
}

function frame(job) {
  const item = make("li", "frame");
  const link = make("a");
  link.href = `/jobs/${job.id}`;
  const shown = make("img");
  shown.loading = "lazy";
  shown.alt = String(job.input.prompt ?? "A picture").slice(0, 300);
  shown.src = `/jobs/${job.id}/picture`;
  link.append(shown);
  const row = make("div", "row between");
  const save = make("a", "small", "Save");
  save.href = shown.src;
  save.download = `${job.id}.png`;
  const again = make("button", "plain small", "Again");
  again.type = "button";
  again.addEventListener("click", () => {
    painter = painters.find((one) => one.slug === job.workload);
    $("fields").replaceChildren();
    fields = new SchemaForm($("fields"), painter.schema, job.input, { fold: true });
    scrollTo({ top: 0, behavior: "smooth" });
  });
  row.append(again, save);
  item.append(link, make("p", "small", shown.alt), row);
  return item;
}

if (painters.length) {
  choose(painters[0].slug);
  $("painter")?.addEventListener("change", (event) => choose(event.target.value));
  form.addEventListener("submit", paint);
  const told = (error) => {
    $("no-pictures").hidden = false;
    $("no-pictures").textContent = words(error);
  };
  $("more-pictures").addEventListener("click", () => shelve($("gallery").children.length).catch(told));
  shelve().catch(told);
}
