// The Vercel AI SDK with its OpenAI-compatible provider: whole and streamed answers, vectors, and what a model cannot do.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, jsonSchema, streamText, tool } from "ai";

const [chatModel, embeddingModel] = process.argv.slice(2);
const provider = createOpenAICompatible({
  name: "archipelag",
  baseURL: process.env.OPENAI_BASE_URL,
  apiKey: process.env.OPENAI_API_KEY,
  includeUsage: true,
});
const asked = {
  model: provider(chatModel),
  system: "You answer in one sentence.",
  prompt: "What is the capital of France?",
  maxOutputTokens: 24,
  temperature: 0,
  seed: 7,
  maxRetries: 0,
};

const whole = await generateText(asked);
const streamed = { text: "", pieces: 0 };
const stream = streamText(asked);
for await (const text of stream.textStream) {
  streamed.text += text;
  streamed.pieces += 1;
}
const { embeddings } = await embedMany({ model: provider.embeddingModel(embeddingModel), values: ["a cat", "a dog"] });

async function failed(asking) {
  try {
    await asking();
    return null;
  } catch (error) {
    return { name: error.name, status: error.statusCode, message: error.message, again: error.isRetryable };
  }
}

const f = tool({ description: "f", inputSchema: jsonSchema({ type: "object", properties: {} }), execute: async () => "" });
const errors = {
  model: await failed(() => generateText({ ...asked, model: provider("gpt-17") })),
  tools: await failed(() => generateText({ ...asked, tools: { f } })),
};

console.log(
  JSON.stringify({
    whole: { text: whole.text, usage: whole.usage, finish: whole.finishReason },
    streamed: { ...streamed, usage: await stream.usage, finish: await stream.finishReason },
    embeddings: embeddings.map((one) => one.length),
    errors,
  }),
);
