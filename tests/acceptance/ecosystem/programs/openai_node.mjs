// The official client for Node: everything that it can ask of us, and how it tells of what went wrong.
import OpenAI, { toFile } from "openai";

const [chatModel, embeddingModel, imageModel] = process.argv.slice(2);
const client = new OpenAI({ maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France? Answer in one sentence." }];
const asked = { model: chatModel, messages, max_tokens: 24, temperature: 0, seed: 7 };

const models = [];
for await (const model of client.models.list()) models.push(model.id);
const model = await client.models.retrieve(chatModel);

const whole = await client.chat.completions.create(asked);
const streamed = { text: "", pieces: 0, finish: null, usage: null };
const stream = await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } });
for await (const chunk of stream) {
  const content = chunk.choices[0]?.delta.content;
  if (content) {
    streamed.text += content;
    streamed.pieces += 1;
  }
  streamed.finish = chunk.choices[0]?.finish_reason ?? streamed.finish;
  streamed.usage = chunk.usage ?? streamed.usage;
}
const collected = await client.chat.completions.stream(asked).finalContent();

const embeddings = await client.embeddings.create({ model: embeddingModel, input: ["a cat", "a dog"] });
const image = await client.images.generate({ model: imageModel, prompt: "a red circle", seed: 1 });

const file = await client.files.create({ file: await toFile(Buffer.from("some text"), "a.txt"), purpose: "user_data" });
const content = await (await client.files.content(file.id)).text();
const listed = [];
for await (const one of client.files.list()) listed.push(one.id);
const deleted = await client.files.delete(file.id);

async function failed(asking) {
  try {
    await asking();
    return null;
  } catch (error) {
    return { name: error.constructor.name, status: error.status, code: error.code, param: error.param };
  }
}

const errors = {
  key: await failed(() => new OpenAI({ apiKey: "ak_wrong", maxRetries: 0 }).models.list()),
  model: await failed(() => client.chat.completions.create({ ...asked, model: "gpt-17" })),
  temperature: await failed(() => client.chat.completions.create({ ...asked, temperature: 9 })),
  tools: await failed(() =>
    client.chat.completions.create({ ...asked, tools: [{ type: "function", function: { name: "f", parameters: {} } }] }),
  ),
  file: await failed(() => client.files.retrieve(file.id)),
};

console.log(
  JSON.stringify({
    models,
    model: model.id,
    whole: { text: whole.choices[0].message.content, usage: whole.usage, finish: whole.choices[0].finish_reason },
    streamed,
    collected,
    embeddings: embeddings.data.map((one) => one.embedding.length),
    image: image.data[0].b64_json.slice(0, 8),
    file: { content, listed: listed.includes(file.id), deleted: deleted.deleted },
    errors,
  }),
);
