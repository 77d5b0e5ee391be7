"""The shapes of files, and of what models other than chat take and answer."""

from __future__ import annotations

from typing import Final

from archipelag_coordinator.apps.api.schemas import (
    ANYTHING,
    CREDITS,
    NUMBER,
    TEXT,
    TRUTH,
    WHOLE,
    WITHOUT_EFFECT,
    Schema,
    many,
    maybe,
    one_of,
    ref,
    shape,
    within,
)

FILES: Final[dict[str, Schema]] = {
    "FileRequest": shape(
        {
            "file": {"type": "string", "format": "binary"},
            "purpose": one_of("user_data", "assistants", "vision", "batch", "fine-tune", "evals"),
            "expires_after[anchor]": one_of("created_at"),
            "expires_after[seconds]": {"type": "integer", "minimum": 3600},
        },
        "expires_after[anchor]",
        "expires_after[seconds]",
        closed=True,
    ),
    "File": shape(
        {
            "id": TEXT,
            "object": one_of("file"),
            "bytes": WHOLE,
            "created_at": WHOLE,
            "expires_at": WHOLE,
            "filename": TEXT,
            "purpose": TEXT,
            "status": one_of("processed"),
            "media_type": TEXT,
            "sha256": TEXT,
            "job_id": maybe(TEXT),
        }
    ),
    "FileList": shape(
        {
            "object": one_of("list"),
            "data": many(ref("File")),
            "first_id": maybe(TEXT),
            "last_id": maybe(TEXT),
            "has_more": TRUTH,
        }
    ),
    "FileDeleted": shape({"id": TEXT, "object": one_of("file"), "deleted": TRUTH}),
    "JobFiles": shape({"data": many(ref("File"))}),
}

_SOME: Final[Schema] = {"type": "string", "minLength": 1}
_CREDITS_USED: Final = shape({"credits_used": CREDITS})
MODELS: Final[dict[str, Schema]] = {
    "EmbeddingRequest": shape(
        {
            "model": TEXT,
            "input": {"anyOf": [_SOME, many(_SOME) | {"minItems": 1, "maxItems": 2048}]},
            "encoding_format": one_of("float", "base64"),
            "dimensions": within(1, 16_384),
            "user": WITHOUT_EFFECT,
        },
        *("encoding_format", "dimensions", "user"),
        closed=True,
    ),
    "EmbeddingList": shape(
        {
            "object": one_of("list"),
            "data": many(
                shape(
                    {
                        "object": one_of("embedding"),
                        "index": WHOLE,
                        "embedding": {"anyOf": [many(NUMBER), TEXT]},
                    }
                )
            ),
            "model": TEXT,
            "usage": shape(
                {"prompt_tokens": WHOLE, "total_tokens": WHOLE, "credits_used": CREDITS}
            ),
        }
    ),
    "ImageRequest": shape(
        {
            "model": TEXT,
            "prompt": {"type": "string", "minLength": 1, "maxLength": 4000},
            "n": {"type": "integer", "const": 1},
            "size": {
                "type": "string",
                "pattern": "^(auto|[1-9][0-9]{1,4}x[1-9][0-9]{1,4})$",
                "examples": ["auto", "512x512"],
            },
            "response_format": one_of("url", "b64_json"),
            "stream": TRUTH,
            "partial_images": {"type": "integer", "minimum": 0, "maximum": 3},
            "output_format": one_of("png"),
            "negative_prompt": TEXT,
            "steps": WHOLE,
            "guidance_scale": NUMBER,
            "seed": WHOLE,
            "user": WITHOUT_EFFECT,
            "safety_identifier": WITHOUT_EFFECT,
        },
        *("n", "size", "response_format", "stream", "partial_images", "output_format"),
        *("negative_prompt", "steps", "guidance_scale", "seed", "user", "safety_identifier"),
        closed=True,
    ),
    "ImageList": shape(
        {
            "created": WHOLE,
            "data": many(
                shape({"b64_json": TEXT, "url": TEXT, "seed": WHOLE}, "b64_json", "url", "seed")
            ),
            "output_format": TEXT,
            "size": TEXT,
            "usage": shape(
                {
                    "input_tokens": WHOLE,
                    "input_tokens_details": ANYTHING,
                    "output_tokens": WHOLE,
                    "total_tokens": WHOLE,
                    "credits_used": CREDITS,
                }
            ),
        }
    ),
    "TranscriptionRequest": shape(
        {
            "file": {"type": "string", "format": "binary"},
            "model": TEXT,
            "language": TEXT,
            "prompt": TEXT,
            "response_format": one_of("json", "text", "srt", "verbose_json", "vtt"),
            "temperature": {"type": "number", "minimum": 0, "maximum": 1},
            "timestamp_granularities[]": one_of("segment"),
        },
        *("language", "prompt", "response_format", "temperature", "timestamp_granularities[]"),
        closed=True,
    ),
    "Transcription": {
        "anyOf": [
            shape(
                {
                    "text": TEXT,
                    "usage": shape(
                        {"type": one_of("duration"), "seconds": NUMBER, "credits_used": CREDITS}
                    ),
                }
            ),
            shape(
                {
                    "task": TEXT,
                    "language": TEXT,
                    "duration": NUMBER,
                    "text": TEXT,
                    "segments": many(ANYTHING),
                    "usage": _CREDITS_USED,
                }
            ),
        ]
    },
    "SpeechRequest": shape(
        {
            "model": TEXT,
            "input": {"type": "string", "minLength": 1, "maxLength": 4096},
            "voice": {"type": "string", "minLength": 1, "maxLength": 100},
            "response_format": one_of("wav"),
            "speed": {"type": "number", "minimum": 0.25, "maximum": 4},
            "seed": WHOLE,
            "user": WITHOUT_EFFECT,
        },
        *("voice", "response_format", "speed", "seed", "user"),
        closed=True,
    ),
}
