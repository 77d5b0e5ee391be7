/** A little of everything, for any runtime: streams that are cut, files, errors. Prints what came of it as JSON. */

import { Client, ConnectionError, NotFoundError } from "@archipelag/sdk";

const client = new Client({ retries: 10, sleep: async () => {} });
const tokens = [];
for await (const piece of client.chatStream("Tell.", { model: "m" })) tokens.push(piece.text);
const events = [];
for await (const event of client.streamJob("job_1")) events.push(event.type);
const file = await client.uploadFile(new Blob(["søen"]), { name: "x.txt" });
const back = await (await client.downloadFile("file_1")).text();
const refused = await client.getJob("job_0").catch((error) => error);
const nobody = await new Client({ baseUrl: "http://127.0.0.1:9", retries: 0 })
  .getAccount()
  .catch((error) => error);
const control = new AbortController();
const reason = await client
  .chatStream("Tell.", {
    model: "m",
    signal: control.signal,
    onToken: () => control.abort("enough"),
  })
  .catch((error) => error);
console.log(
  JSON.stringify({
    text: tokens.join(""),
    events: [...new Set(events)],
    file: file.id,
    back,
    refused: refused instanceof NotFoundError,
    nobody: nobody instanceof ConnectionError && nobody.message.includes("http://127.0.0.1:9"),
    reason,
  }),
);
