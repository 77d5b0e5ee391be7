"""A loaded GGUF: its vocabulary, its chat template, and the contexts that decode with it."""

from __future__ import annotations

import ctypes as c
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np
import numpy.typing as npt
from jinja2.sandbox import ImmutableSandboxedEnvironment

from archipelag_llm_chat import bindings
from archipelag_llm_chat.errors import BadRequest, DecodeFailed, EngineUnusable

Logits = npt.NDArray[np.float32]

# 64 tokens and more take another attention kernel, which rounds differently from decoding one by one
# (docs/decisions/0004): the batch's size is part of what makes logits equal.
UBATCH_TOKENS: Final = 32
_PIECE_BYTES: Final = 256
# Stands for a message's text while the template is rendered; see `Model.prompt_tokens`.
_PLACEHOLDER: Final = re.compile("\ue000(\\d+)\ue001")


@dataclass(frozen=True)
class BatchToken:
    """One token to decode: at `position` of `sequence`; `wanted` asks for the logits that follow it."""

    token: int
    position: int
    sequence: int
    wanted: bool


class Model:
    """Weights and vocabulary. Reading the vocabulary is safe from any thread."""

    def __init__(self, path: Path, *, progress: Callable[[float], None] | None = None) -> None:
        """Loads the file. Raises EngineUnusable with a reason that an operator can act on."""
        self._lib = bindings.library()
        if not path.is_file():
            raise EngineUnusable(f"no model file at {path}")
        params = bindings.default_model_params()
        params.n_gpu_layers = 0
        params.load_mode = bindings.LOAD_MODE_MMAP
        # Repacked weights use other kernels for one token than for many: equality comes first.
        params.use_extra_bufts = False
        callback = bindings.LOAD_CALLBACK(_reporter(progress))
        params.progress_callback = c.cast(callback, c.c_void_p)
        self._handle = self._lib.llama_model_load_from_file(str(path).encode(), params)
        if not self._handle:
            raise EngineUnusable(f"{path.name} is not a GGUF model that this llama.cpp can load")
        if (
            not self._lib.llama_model_has_decoder(self._handle)
            or self._lib.llama_model_has_encoder(self._handle)
            or self._lib.llama_model_is_recurrent(self._handle)
        ):
            raise EngineUnusable(f"{path.name} is not a decoder-only transformer")
        # A state that all tokens went into cannot be taken back to an earlier one.
        self.can_drop_ends: bool = not self._lib.llama_model_is_hybrid(self._handle)
        self._vocab = self._lib.llama_model_get_vocab(self._handle)
        self.vocabulary_size: int = self._lib.llama_vocab_n_tokens(self._vocab)
        self.context_tokens_trained: int = self._lib.llama_model_n_ctx_train(self._handle)
        self._pieces: dict[int, bytes] = {}
        self._template = self._chat_template(path)

    def close(self) -> None:
        if self._handle:
            self._lib.llama_model_free(self._handle)
            self._handle = None

    @property
    def handle(self) -> Any:
        return self._handle

    def is_end(self, token: int) -> bool:
        """Whether this token ends the answer."""
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to the answer; control tokens add none."""
        known = self._pieces.get(token)
        if known is None:
            buffer = c.create_string_buffer(_PIECE_BYTES)
            size = self._lib.llama_token_to_piece(
                self._vocab, token, buffer, _PIECE_BYTES, 0, False
            )
            if size < 0:
                buffer = c.create_string_buffer(-size)
                size = self._lib.llama_token_to_piece(self._vocab, token, buffer, -size, 0, False)
            known = self._pieces[token] = buffer.raw[: max(size, 0)]
        return known

    def tokens(self, text: str, *, first: bool, special: bool) -> list[int]:
        """`special`: the text's `<|…|>` marks are the template's own and become control tokens."""
        data = text.encode()
        size = len(data) + 8
        buffer = (c.c_int32 * size)()
        count = self._lib.llama_tokenize(self._vocab, data, len(data), buffer, size, first, special)
        if count < 0:
            raise BadRequest("the text cannot be tokenised")
        return buffer[:count]

    def prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The conversation as the model's template puts it, ready for the answer. Raises BadRequest.

        A message that spells a control token (`<|im_end|>`) must not become one: such text is tokenised apart.
        """
        contents = [message["content"] for message in messages]
        if not any(self._spells_control(text) for text in contents):
            return self.tokens(self._render(messages), first=True, special=True)
        marked = [
            {**message, "content": f"\ue000{index}\ue001"} for index, message in enumerate(messages)
        ]
        tokens: list[int] = []
        for index, part in enumerate(_PLACEHOLDER.split(self._render(marked))):
            inside = index % 2 == 1
            text = contents[int(part)] if inside else part
            if text:
                tokens += self.tokens(text, first=not tokens, special=not inside)
        return tokens

    def _spells_control(self, text: str) -> bool:
        return any(
            self._lib.llama_vocab_is_control(self._vocab, token)
            for token in set(self.tokens(text, first=False, special=True))
        )

    def _render(self, messages: Sequence[Mapping[str, str]]) -> str:
        try:
            return self._template.render(
                messages=messages,
                add_generation_prompt=True,
                bos_token=self._beginning(),
                eos_token=self._token_text(self._lib.llama_vocab_eos(self._vocab)),
                raise_exception=_refuse,
            )
        except jinja2.TemplateError as error:
            raise BadRequest(f"messages: the model's chat template refuses them: {error}") from None

    def _chat_template(self, path: Path) -> jinja2.Template:
        source = self._lib.llama_model_chat_template(self._handle, None)
        if not source:
            raise EngineUnusable(f"{path.name} has no chat template; use an instruct model's GGUF")
        sandbox = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        try:
            return sandbox.from_string(source.decode())
        except (jinja2.TemplateError, UnicodeDecodeError) as error:
            raise EngineUnusable(f"{path.name}: its chat template is broken: {error}") from None

    def _beginning(self) -> str:
        """The template's beginning mark, unless llama_tokenize puts one itself."""
        if self._lib.llama_vocab_get_add_bos(self._vocab):
            return ""
        return self._token_text(self._lib.llama_vocab_bos(self._vocab))

    def _token_text(self, token: int) -> str:
        if token < 0:
            return ""
        text: bytes = self._lib.llama_vocab_get_text(self._vocab, token)
        return text.decode(errors="replace")


class Context:
    """Key-value memory of a few sequences, decoded together. Only one thread may use it."""

    def __init__(
        self,
        model: Model,
        *,
        sequences: int,
        context_tokens: int,
        threads: int,
        ubatch_tokens: int = UBATCH_TOKENS,
        flash_attention: bool = True,
        unified: bool = False,
    ) -> None:
        self._lib = bindings.library()
        self._model = model
        params = bindings.default_context_params()
        params.n_ctx = context_tokens * sequences
        params.n_batch = params.n_ubatch = ubatch_tokens
        params.n_seq_max = sequences
        params.n_outputs_max_per_seq = ubatch_tokens
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = bindings.FLASH_ATTENTION_ON if flash_attention else 0
        # Each sequence has cells of its own, in the order of its positions. In a unified memory the order would
        # depend on the neighbours, and with it the rounding of sums.
        params.kv_unified = unified
        self._handle = self._lib.llama_init_from_model(model.handle, params)
        if not self._handle:
            raise EngineUnusable(
                f"no memory for {sequences} sequences of {context_tokens} tokens; use fewer slots"
            )
        if self._lib.llama_n_ctx_seq(self._handle) < context_tokens:
            raise EngineUnusable(
                f"llama.cpp gives {self._lib.llama_n_ctx_seq(self._handle)} tokens a sequence, "
                f"{context_tokens} are needed"
            )
        self._memory = self._lib.llama_get_memory(self._handle)
        self.batch_tokens_max = ubatch_tokens
        self._vocabulary = model.vocabulary_size
        self._arrays = _BatchArrays(ubatch_tokens)

    def close(self) -> None:
        if self._handle:
            self._lib.llama_free(self._handle)
            self._handle = None

    def set_threads(self, lone: int, together: int) -> None:
        """Threads for a token decoded by itself, and for several at once.

        By itself a token's attention is split among the threads, and the sums are rounded otherwise.
        """
        self._lib.llama_set_n_threads(self._handle, lone, together)

    def decode(self, batch: Sequence[BatchToken]) -> list[Logits]:
        """Logits of the wanted tokens, in order; valid until the next call. Raises DecodeFailed."""
        assert 0 < len(batch) <= self.batch_tokens_max
        code = self._lib.llama_decode(self._handle, self._arrays.fill(batch))
        if code != 0:
            raise DecodeFailed(f"llama.cpp could not decode a batch (code {code})")
        return [
            np.ctypeslib.as_array(
                self._lib.llama_get_logits_ith(self._handle, index), (self._vocabulary,)
            )
            for index, token in enumerate(batch)
            if token.wanted
        ]

    def forget(self, sequence: int, first_position: int = 0) -> None:
        """Drops a sequence from a position on."""
        self._lib.llama_memory_seq_rm(self._memory, sequence, first_position, -1)


class _BatchArrays:
    """The arrays that a llama_batch points to, made once."""

    def __init__(self, size: int) -> None:
        self._token = (c.c_int32 * size)()
        self._position = (c.c_int32 * size)()
        self._count = (c.c_int32 * size)(*[1] * size)
        self._sequence = (c.c_int32 * size)()
        step = c.sizeof(c.c_int32)
        pointer = c.POINTER(c.c_int32)
        base = c.addressof(self._sequence)
        self._sequences = (pointer * size)(
            *(c.cast(base + index * step, pointer) for index in range(size))
        )
        self._wanted = (c.c_int8 * size)()

    def fill(self, batch: Sequence[BatchToken]) -> bindings.Batch:
        for index, one in enumerate(batch):
            self._token[index] = one.token
            self._position[index] = one.position
            self._sequence[index] = one.sequence
            self._wanted[index] = one.wanted
        return bindings.Batch(
            len(batch),
            self._token,
            None,
            self._position,
            self._count,
            self._sequences,
            self._wanted,
        )


def _reporter(progress: Callable[[float], None] | None) -> Callable[[float, object], bool]:
    def report(done: float, _data: object) -> bool:
        if progress is not None:
            progress(done)
        return True

    return report


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
