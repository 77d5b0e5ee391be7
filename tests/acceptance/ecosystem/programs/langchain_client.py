"""LangChain's chat model and embeddings for OpenAI: whole, streamed, in a batch, and what a model cannot do."""

import asyncio
import json
import os
import sys

from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

chat_model, embedding_model = sys.argv[1:]
where = {"base_url": os.environ["OPENAI_BASE_URL"], "api_key": os.environ["OPENAI_API_KEY"]}
asked = {"max_tokens": 24, "temperature": 0, "seed": 7, "max_retries": 0, **where}
model = ChatOpenAI(model=chat_model, **asked)
messages = [
    SystemMessage("You answer in one sentence."),
    HumanMessage("What is the capital of France?"),
]


def failed(asking):
    try:
        asking()
    except Exception as error:
        return {
            "name": type(error).__name__,
            "bases": [base.__name__ for base in type(error).__mro__],
            "status": getattr(error, "status_code", None),
            "param": getattr(error, "param", None),
        }
    return None


def forecast(city: str) -> str:
    """The weather of a city."""
    return city


schema = {
    "title": "City",
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
}

whole = model.invoke(messages)
pieces = list(model.stream(messages, stream_usage=True))
streamed = sum(pieces[1:], start=pieces[0])
batch = asyncio.run(model.abatch([messages, messages]))
vectors = OpenAIEmbeddings(model=embedding_model, check_embedding_ctx_length=False, **where)
tokens = OpenAIEmbeddings(model=embedding_model, max_retries=0, **where)
errors = {
    "model": failed(lambda: ChatOpenAI(model="gpt-17", **asked).invoke(messages)),
    "key": failed(
        lambda: ChatOpenAI(model=chat_model, **(asked | {"api_key": "ak_wrong"})).invoke(messages)
    ),
    "tools": failed(lambda: model.bind_tools([forecast]).invoke(messages)),
    "structured": failed(lambda: model.with_structured_output(schema).invoke(messages)),
    "json_mode": failed(
        lambda: model.with_structured_output(schema, method="json_mode").invoke(messages)
    ),
}

print(
    json.dumps(
        {
            "whole": {"text": whole.content, "usage": whole.usage_metadata},
            "streamed": {
                "text": streamed.content,
                "pieces": sum(bool(one.content) for one in pieces),
                "usage": streamed.usage_metadata,
            },
            "batch": [one.content for one in batch],
            "vectors": [len(one) for one in vectors.embed_documents(["a cat", "a dog"])],
            "errors": errors,
        }
    )
)
