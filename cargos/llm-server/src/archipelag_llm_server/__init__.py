"""Chat by a server that speaks OpenAI's language, started and watched inside the sandbox: vLLM's or llama.cpp's."""
