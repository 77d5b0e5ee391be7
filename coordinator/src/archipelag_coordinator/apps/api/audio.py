"""OpenAI's speech, both ways: a recording in, its words out; words in, a recording out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from archipelag_coordinator.apps.api.asking import submission_of
from archipelag_coordinator.apps.api.auth import Caller, TheWorld, Writing
from archipelag_coordinator.apps.api.body import read_object
from archipelag_coordinator.apps.api.content import content_response
from archipelag_coordinator.apps.api.errors import CLIENT_GONE, BadResult
from archipelag_coordinator.apps.api.files import receive
from archipelag_coordinator.apps.api.openapi import ENDINGS, answers, takes, takes_form
from archipelag_coordinator.apps.api.results import (
    Result,
    check_fields,
    model_of,
    number,
    result_of,
    text_of,
)
from archipelag_coordinator.apps.api.subtitles import Segment, as_srt, as_vtt
from archipelag_coordinator.domain.file import File
from archipelag_coordinator.errors import InvalidInput, Unsupported
from archipelag_coordinator.services.asked import Submission
from archipelag_coordinator.services.files import files_of_job
from archipelag_coordinator.services.world import World

FORMATS: Final = ("json", "text", "srt", "verbose_json", "vtt")
TIMED: Final = frozenset({"srt", "vtt", "verbose_json"})
SPEECH_CHARS_MAX: Final = 4096
SEGMENTS_MAX: Final = 100_000
RECORDING_KEPT_S: Final = 3600.0
_FORM: Final = frozenset(
    {"model", "language", "prompt", "response_format", "temperature", "stream"}
    | {"timestamp_granularities[]"}
)
_FORM_CANNOT: Final = frozenset(
    {"chunking_strategy", "include[]", "keywords[]", "languages[]"}
    | {"known_speaker_names[]", "known_speaker_references[]"}
)
_SPEECH: Final = frozenset({"model", "input", "voice", "response_format", "speed", "seed", "user"})
_SPEECH_CANNOT: Final = frozenset({"instructions", "stream_format"})

router = APIRouter(tags=["models"])


@router.post(
    "/audio/transcriptions",
    summary="Write down a recording",
    openapi_extra=takes_form("TranscriptionRequest"),
    responses=answers(200, "Transcription", 400, 402, 404, 413, *ENDINGS, text="text/plain"),
)
async def create_transcription(request: Request, world: TheWorld, caller: Writing) -> Response:
    """A form with `file` and `model`. The recording is kept for as long as the work takes."""
    sent = await receive(world, caller.user.id, request)
    try:
        cargo_slug, given, how = _transcription(world, sent.fields)
        file = await sent.upload.finish(
            name=sent.name,
            purpose="user_data",
            kept_s=RECORDING_KEPT_S,
            claimed=sent.media_type,
        )
    except BaseException:
        await sent.upload.give_up()
        raise
    try:
        # The same recording sent again is another file, and the same request.
        same = {"file": file.sha256, **given}
        whole = {"file": file.id, **given}
        submission = submission_of(request, caller, cargo_slug, same, interactive=True)
        result = await result_of(request, world, replace(submission, input=whole))
    finally:
        await _drop(world, file)
    if result is None:
        return Response(status_code=CLIENT_GONE)
    return _written(result, how)


@router.post(
    "/audio/speech",
    summary="Speak a text",
    openapi_extra=takes("SpeechRequest"),
    responses=answers(200, None, 400, 402, 404, 413, *ENDINGS, binary=True),
)
async def create_speech(request: Request, world: TheWorld, caller: Writing) -> Response:
    body = await read_object(request, request.app.state.settings.body_bytes_max)
    slug, given, wanted = _speech(world, body)
    submission: Submission = submission_of(request, caller, slug, given, interactive=True)
    result = await result_of(request, world, submission)
    if result is None:
        return Response(status_code=CLIENT_GONE)
    file = await _recording(world, caller, result)
    made = file.media_type.partition("/")[2]
    if wanted not in (None, made):
        raise BadResult(f"the Cargo made {made}, not {wanted}")
    response = await content_response(world, file, request)
    response.headers["X-Archipelag-Job"] = result.asked.job.id
    return response


def _transcription(world: World, fields: Mapping[str, str]) -> tuple[str, dict[str, Any], str]:
    """Slug, input without the file, and how it is to be told. Raises InvalidInput, Unsupported, NotFound."""
    check_fields(fields, _FORM, _FORM_CANNOT)
    cargo = model_of(world, fields.get("model"), "transcription")
    how = fields.get("response_format", "json")
    if how not in FORMATS:
        raise InvalidInput({"response_format": [f"must be one of {', '.join(FORMATS)}"]})
    if fields.get("stream", "false").lower() not in ("false", "0"):
        raise Unsupported("stream", "stream: a recording is written down as a whole")
    if "word" in fields.get("timestamp_granularities[]", ""):
        raise Unsupported("timestamp_granularities[]", "only the times of segments are available")
    given: dict[str, Any] = {
        name: fields[name] for name in ("language", "prompt") if fields.get(name)
    }
    if fields.get("temperature"):
        given["temperature"] = _fraction(fields["temperature"], "temperature", 0, 1)
    if how in TIMED:
        given["timestamps"] = True
    return cargo.slug, given, how


def _written(result: Result, how: str) -> Response:
    value, headers = result.value, result.headers
    text = value.get("text")
    if not isinstance(text, str):
        raise BadResult("the Cargo answered without a text")
    if how == "text":
        return PlainTextResponse(f"{text}\n", headers=headers)
    if how == "json":
        duration = value.get("duration_s")
        known = isinstance(duration, (int, float)) and not isinstance(duration, bool)
        usage = {"type": "duration", "seconds": duration if known else 0}
        usage["credits_used"] = result.credits_used
        return JSONResponse({"text": text, "usage": usage}, headers=headers)
    segments = segments_of(value.get("segments"))
    if how == "srt":
        return PlainTextResponse(as_srt(segments), headers=headers)
    if how == "vtt":
        return PlainTextResponse(as_vtt(segments), headers=headers)
    language = value.get("language")
    whole = {
        "task": "transcribe",
        "language": language if isinstance(language, str) else "",
        "duration": number(value.get("duration_s"), "the duration"),
        "text": text,
        "segments": [
            {
                "id": index,
                "seek": 0,
                "start": one.start_s,
                "end": one.end_s,
                "text": one.text,
                "tokens": [],
                "temperature": 0.0,
                "avg_logprob": 0.0,
                "compression_ratio": 0.0,
                "no_speech_prob": 0.0,
            }
            for index, one in enumerate(segments)
        ],
        "usage": {"credits_used": result.credits_used},
    }
    return JSONResponse(whole, headers=headers)


def segments_of(value: Any) -> list[Segment]:
    """Raises BadResult."""
    if not isinstance(value, list) or len(value) > SEGMENTS_MAX:
        raise BadResult("the Cargo answered without segments")
    found = []
    for one in value:
        if not isinstance(one, dict) or not isinstance(one.get("text"), str):
            raise BadResult("a segment has no text")
        start, end = number(one.get("start"), "a time"), number(one.get("end"), "a time")
        if not 0 <= start <= end <= 1e6:
            raise BadResult("a segment ends before it begins")
        found.append(Segment(start, end, one["text"]))
    return found


def _speech(world: World, body: dict[str, Any]) -> tuple[str, dict[str, Any], str | None]:
    """Slug, input, and the format that must come. Raises InvalidInput, Unsupported, NotFound."""
    check_fields(body, _SPEECH, _SPEECH_CANNOT)
    cargo = model_of(world, body.get("model"), "speech")
    wanted = body.get("response_format")
    if wanted not in (None, "wav"):
        raise Unsupported("response_format", "response_format: only wav is available")
    given: dict[str, Any] = {"text": text_of(body, "input", SPEECH_CHARS_MAX)}
    voice, seed = body.get("voice"), body.get("seed")
    if voice is not None:
        if not isinstance(voice, str) or not 1 <= len(voice) <= 100:
            raise InvalidInput({"voice": ["must be the name of a voice"]})
        given["voice"] = _voice(cargo.manifest.input, voice)
    if body.get("speed") is not None:
        given["speed"] = _fraction(body["speed"], "speed", 0.25, 4)
    if seed is not None:
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise InvalidInput({"seed": ["must be a whole number"]})
        given["seed"] = seed
    return cargo.slug, given, wanted


def _voice(schema: Mapping[str, Any], voice: str) -> str:
    """Raises InvalidInput with the voices that there are."""
    voices = schema.get("properties", {}).get("voice", {}).get("enum")
    if isinstance(voices, list) and voice not in voices:
        raise InvalidInput({"voice": [f"must be one of {', '.join(map(str, voices))}"]})
    return voice


async def _recording(world: World, caller: Caller, result: Result) -> File:
    """The output file that the result names. Raises BadResult."""
    named = result.value.get("file")
    name = named.get("file") if isinstance(named, dict) else None
    for file in await files_of_job(world, caller.user.id, result.asked.job.id):
        if file.name == name and file.media_type.startswith("audio/"):
            return file
    raise BadResult("the Cargo answered without a recording")


async def _drop(world: World, file: File) -> None:
    """The job, if it still runs, goes on reading it."""
    async with world.store.begin() as tx:
        await tx.files.remove(file.owner_id, file.id)


def _fraction(value: Any, name: str, lowest: float, highest: float) -> float:
    try:
        found = float(value) if isinstance(value, (str, int, float)) else None
    except ValueError:
        found = None
    if found is None or isinstance(value, bool) or not lowest <= found <= highest:
        raise InvalidInput({name: [f"must be {lowest:g} to {highest:g}"]})
    return found
