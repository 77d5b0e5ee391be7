"""The shapes of conversations and their messages."""

from __future__ import annotations

from typing import Final

from archipelag_coordinator.apps.api.schemas import (
    CREDITS,
    NUMBER,
    TEXT,
    TIME,
    TRUTH,
    WHOLE,
    Schema,
    data,
    many,
    maybe,
    one_of,
    ref,
    shape,
)

_PARAMETERS: Final = shape(
    {
        "system_prompt": {"type": "string", "maxLength": 32768},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "top_p": {"type": "number", "minimum": 0, "maximum": 1},
        "min_p": {"type": "number", "minimum": 0, "maximum": 1},
        "top_k": {"type": "integer", "minimum": 0},
        "max_tokens": {"type": "integer", "minimum": 1},
        "seed": WHOLE,
        "stop": {"anyOf": [TEXT, many(TEXT) | {"maxItems": 4}]},
        "frequency_penalty": {"type": "number", "minimum": -2, "maximum": 2},
        "presence_penalty": {"type": "number", "minimum": -2, "maximum": 2},
        "cache_prompt": TRUTH,
    },
    *("system_prompt", "temperature", "top_p", "min_p", "top_k", "max_tokens", "seed", "stop"),
    *("frequency_penalty", "presence_penalty", "cache_prompt"),
    closed=True,
)
_TITLE: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 120}
_MODEL: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 200}
_CONTENT: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 32768}
_FIGURES: Final = shape(
    {
        "island": maybe(TEXT),
        "first_token_ms": maybe(WHOLE),
        "tokens": WHOLE,
        "tokens_per_s": maybe(NUMBER),
        "credits_used": CREDITS,
        "attempts": WHOLE,
        "finish_reason": maybe(TEXT),
    }
)
_MESSAGE: Final = shape(
    {
        "number": WHOLE,
        "parent": maybe(WHOLE),
        "role": one_of("user", "assistant"),
        "content": TEXT,
        "status": one_of("writing", "done", "failed", "cancelled"),
        "created_at": TIME,
        "job_id": maybe(TEXT),
        "model": TEXT,
        "error": maybe(TEXT),
        "figures": maybe(_FIGURES),
        "versions": many(WHOLE),
    },
    *("job_id", "model", "error", "figures", "versions"),
)
_OWN: Final[dict[str, Schema]] = {
    "id": TEXT,
    "title": TEXT,
    "model": maybe(TEXT),
    "parameters": _PARAMETERS,
    "created_at": TIME,
    "updated_at": TIME,
}
CONVERSATIONS: Final[dict[str, Schema]] = {
    "Message": _MESSAGE,
    "Conversation": shape(_OWN),
    "ConversationRequest": shape(
        {"title": maybe(_TITLE), "model": maybe(_MODEL), "parameters": maybe(_PARAMETERS)},
        *("title", "model", "parameters"),
        closed=True,
    ),
    "ConversationAnswer": data(ref("Conversation")),
    "WholeConversation": data(shape(_OWN | {"messages": many(ref("Message"))})),
    "ConversationList": shape(
        {
            "data": many(ref("Conversation")),
            "meta": shape({"total": WHOLE, "limit": WHOLE, "offset": WHOLE}),
        }
    ),
    "ConversationDeleted": data(shape({"id": TEXT, "deleted": TRUTH})),
    "QuestionRequest": shape(
        {
            "content": _CONTENT,
            "model": maybe(_MODEL),
            "parameters": maybe(_PARAMETERS),
            "after": maybe(WHOLE),
        },
        *("model", "parameters", "after"),
        closed=True,
    ),
    "EditRequest": shape(
        {"content": _CONTENT, "model": maybe(_MODEL), "parameters": maybe(_PARAMETERS)},
        *("model", "parameters"),
        closed=True,
    ),
    "AgainRequest": shape(
        {"model": maybe(_MODEL), "parameters": maybe(_PARAMETERS)},
        *("model", "parameters"),
        closed=True,
    ),
    "Asked": data(
        shape(
            {
                "conversation": ref("Conversation"),
                "message": ref("Message"),
                "answer": ref("Message"),
            }
        )
    ),
}
