// The playground: any Cargo's form, its request in three languages as one fills it in, and its result.
import { SchemaForm } from "./form.js";
import { client, make, words } from "./page.js";
import { resultOf, toldOf } from "./result.js";
import { run } from "./running.js";

const $ = (id) => document.getElementById(id);
const told = JSON.parse($("play").dataset.told);
const base = $("play").dataset.base;
const fields = new SchemaForm($("fields"), told.schema, told.example);

async function samples() {
  const input = await fields.value();
  $("as-curl").textContent = curl(input);
  $("as-python").textContent = python(input);
  $("as-javascript").textContent = javascript(input);
}

function curl(input) {
  const body = JSON.stringify({ workload: told.slug, input }, null, 2).replaceAll("'", "'\\''");
  return `curl ${base}/api/v1/jobs \\\n  -H "Authorization: Bearer $ARCHIPELAG_API_KEY" \\\n  -H 'Content-Type: application/json' \\\n  -d '${body}'`;
}

function python(input) {
  return `from archipelag import Client\n\nwith Client("${base}") as client:  # the key: ARCHIPELAG_API_KEY\n    job = client.create_job("${told.slug}", ${pythonOf(input, "    ")})\n    job = client.wait_for_job(job.id)\n    print(job.output)`;
}

function javascript(input) {
  const shown = JSON.stringify(input, null, 2);
  return `import { Client } from "@archipelag/sdk";\n\nconst client = new Client({ baseUrl: "${base}" }); // the key: ARCHIPELAG_API_KEY\nconst job = await client.createJob("${told.slug}", ${shown});\nconsole.log((await client.waitForJob(job.id)).output);`;
}

/** A value as Python writes it. */
function pythonOf(value, indent) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const deeper = `${indent}    `;
  if (Array.isArray(value)) return `[${value.map((one) => pythonOf(one, deeper)).join(", ")}]`;
  const lines = Object.entries(value).map(([name, one]) => `${deeper}${JSON.stringify(name)}: ${pythonOf(one, deeper)},\n`);
  return lines.length ? `{\n${lines.join("")}${indent}}` : "{}";
}

async function play(event) {
  event.preventDefault();
  $("trouble").hidden = true;
  $("run").disabled = true;
  $("out").replaceChildren();
  const text = make("pre", "tall");
  let said = "";
  try {
    const input = await fields.value({ send: true });
    if (input === null) return;
    $("progress").hidden = false;
    let jobId = "";
    $("leave").onclick = () => jobId && client.cancelJob(jobId).catch(() => {});
    const job = await run(told.slug, input, {
      made: (made) => (jobId = made.id),
      tell: (doing) => ($("doing").textContent = doing),
      onProgress: ({ step, total }) => total && Object.assign($("steps"), { max: total, value: step }),
      onToken: (piece) => {
        if (told.kind !== "chat") return;
        if (!said) $("out").replaceChildren(text);
        text.textContent = said += piece;
      },
    });
    if (job.status === "completed") $("out").replaceChildren(...(await resultOf(job, told.kind)), toldOf(job));
    else $("out").replaceChildren(make("p", "wrong", job.error || `The job is ${job.status}.`), toldOf(job));
    $("heard").textContent = `The job is ${job.status}.`;
  } catch (error) {
    const rest = error.errors ? fields.refuse(error.errors) : words(error);
    if (rest) {
      $("trouble").hidden = false;
      $("trouble").firstElementChild.textContent = rest;
    }
  } finally {
    $("progress").hidden = true;
    $("run").disabled = false;
  }
}

$("play").addEventListener("submit", play);
$("play").addEventListener("input", samples);
samples();
