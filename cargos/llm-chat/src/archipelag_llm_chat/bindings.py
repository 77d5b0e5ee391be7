"""llama.cpp's C API as exported by the shared object inside xllamacpp, with the struct layouts of that very build.

The structs travel by value, so a wrong layout would corrupt memory in silence. Three checks stand against that: the
package's version is pinned, and the defaults that the library itself writes must be the known ones, field by field,
before anything else is called.
"""

from __future__ import annotations

import ctypes as c
import importlib.metadata
from functools import cache
from pathlib import Path
from typing import Any, Final

from archipelag_llm_chat.errors import EngineUnusable

PACKAGE: Final = "xllamacpp"
# The layouts below are those of this release and of no other.
VERSION: Final = "2026.10.11549"

FLASH_ATTENTION_ON: Final = 1
LOAD_MODE_MMAP: Final = 1


class ModelParams(c.Structure):
    _fields_ = (
        ("devices", c.c_void_p),
        ("tensor_buft_overrides", c.c_void_p),
        ("n_gpu_layers", c.c_int32),
        ("split_mode", c.c_int32),
        ("load_mode", c.c_int32),
        ("lazy_mode", c.c_int32),
        ("main_gpu", c.c_int32),
        ("tensor_split", c.c_void_p),
        ("progress_callback", c.c_void_p),
        ("progress_callback_user_data", c.c_void_p),
        ("kv_overrides", c.c_void_p),
        ("vocab_only", c.c_bool),
        ("check_tensors", c.c_bool),
        ("use_extra_bufts", c.c_bool),
        ("no_host", c.c_bool),
        ("no_alloc", c.c_bool),
        ("load_mtp", c.c_bool),
    )


class ContextParams(c.Structure):
    _fields_ = (
        ("n_ctx", c.c_uint32),
        ("n_batch", c.c_uint32),
        ("n_ubatch", c.c_uint32),
        ("n_seq_max", c.c_uint32),
        ("n_rs_seq", c.c_uint32),
        ("n_outputs_max", c.c_uint32),
        ("n_outputs_max_per_seq", c.c_uint32),
        ("n_threads", c.c_int32),
        ("n_threads_batch", c.c_int32),
        ("ctx_type", c.c_int32),
        ("rope_scaling_type", c.c_int32),
        ("pooling_type", c.c_int32),
        ("attention_type", c.c_int32),
        ("flash_attn_type", c.c_int32),
        ("rope_freq_base", c.c_float),
        ("rope_freq_scale", c.c_float),
        ("yarn_ext_factor", c.c_float),
        ("yarn_attn_factor", c.c_float),
        ("yarn_beta_fast", c.c_float),
        ("yarn_beta_slow", c.c_float),
        ("yarn_orig_ctx", c.c_uint32),
        ("defrag_thold", c.c_float),
        ("cb_eval", c.c_void_p),
        ("cb_eval_user_data", c.c_void_p),
        ("type_k", c.c_int32),
        ("type_v", c.c_int32),
        ("abort_callback", c.c_void_p),
        ("abort_callback_data", c.c_void_p),
        ("unnamed_128", c.c_uint64),  # In this build only; zero, and left so.
        ("embeddings", c.c_bool),
        ("offload_kqv", c.c_bool),
        ("no_perf", c.c_bool),
        ("op_offload", c.c_bool),
        ("swa_full", c.c_bool),
        ("kv_unified", c.c_bool),
        ("samplers", c.c_void_p),
        ("n_samplers", c.c_size_t),
        ("ctx_other", c.c_void_p),
    )


class Batch(c.Structure):
    _fields_ = (
        ("n_tokens", c.c_int32),
        ("token", c.POINTER(c.c_int32)),
        ("embd", c.POINTER(c.c_float)),
        ("pos", c.POINTER(c.c_int32)),
        ("n_seq_id", c.POINTER(c.c_int32)),
        ("seq_id", c.POINTER(c.POINTER(c.c_int32))),
        ("logits", c.POINTER(c.c_int8)),
    )


LOG_CALLBACK: Final = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)
LOAD_CALLBACK: Final = c.CFUNCTYPE(c.c_bool, c.c_float, c.c_void_p)

# What a field must hold when the library has filled the struct; fields left out must be zero.
MODEL_DEFAULTS: Final[dict[str, Any]] = {
    "n_gpu_layers": -1,
    "split_mode": 1,
    "load_mode": -1,
    "lazy_mode": 1,
    "use_extra_bufts": True,
}
CONTEXT_DEFAULTS: Final[dict[str, Any]] = {
    "n_ctx": 512,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_seq_max": 1,
    "n_outputs_max_per_seq": 1,
    "n_threads": 4,
    "n_threads_batch": 4,
    "rope_scaling_type": -1,
    "pooling_type": -1,
    "attention_type": -1,
    "flash_attn_type": -1,
    "yarn_ext_factor": -1.0,
    "yarn_attn_factor": -1.0,
    "yarn_beta_fast": -1.0,
    "yarn_beta_slow": -1.0,
    "defrag_thold": -1.0,
    "type_k": 1,
    "type_v": 1,
    "offload_kqv": True,
    "no_perf": True,
    "op_offload": True,
    "swa_full": True,
}

_POINTER: Final = c.c_void_p
# name → (result, parameters)
_FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "llama_backend_init": (None, ()),
    "llama_version": (c.c_char_p, ()),
    "llama_print_system_info": (c.c_char_p, ()),
    "llama_log_set": (None, (LOG_CALLBACK, _POINTER)),
    "llama_model_load_from_file": (_POINTER, (c.c_char_p, ModelParams)),
    "llama_model_free": (None, (_POINTER,)),
    "llama_model_get_vocab": (_POINTER, (_POINTER,)),
    "llama_model_n_ctx_train": (c.c_int32, (_POINTER,)),
    "llama_model_has_decoder": (c.c_bool, (_POINTER,)),
    "llama_model_has_encoder": (c.c_bool, (_POINTER,)),
    "llama_model_is_recurrent": (c.c_bool, (_POINTER,)),
    "llama_model_is_hybrid": (c.c_bool, (_POINTER,)),
    "llama_model_chat_template": (c.c_char_p, (_POINTER, c.c_char_p)),
    "llama_init_from_model": (_POINTER, (_POINTER, ContextParams)),
    "llama_free": (None, (_POINTER,)),
    "llama_n_ctx": (c.c_uint32, (_POINTER,)),
    "llama_n_ctx_seq": (c.c_uint32, (_POINTER,)),
    "llama_n_ubatch": (c.c_uint32, (_POINTER,)),
    "llama_n_seq_max": (c.c_uint32, (_POINTER,)),
    "llama_get_memory": (_POINTER, (_POINTER,)),
    "llama_memory_seq_rm": (c.c_bool, (_POINTER, c.c_int32, c.c_int32, c.c_int32)),
    "llama_set_n_threads": (None, (_POINTER, c.c_int32, c.c_int32)),
    "llama_decode": (c.c_int32, (_POINTER, Batch)),
    "llama_get_logits_ith": (c.POINTER(c.c_float), (_POINTER, c.c_int32)),
    "llama_vocab_n_tokens": (c.c_int32, (_POINTER,)),
    "llama_vocab_is_eog": (c.c_bool, (_POINTER, c.c_int32)),
    "llama_vocab_is_control": (c.c_bool, (_POINTER, c.c_int32)),
    "llama_vocab_bos": (c.c_int32, (_POINTER,)),
    "llama_vocab_eos": (c.c_int32, (_POINTER,)),
    "llama_vocab_get_add_bos": (c.c_bool, (_POINTER,)),
    "llama_vocab_get_text": (c.c_char_p, (_POINTER, c.c_int32)),
    "llama_tokenize": (
        c.c_int32,
        (_POINTER, c.c_char_p, c.c_int32, c.POINTER(c.c_int32), c.c_int32, c.c_bool, c.c_bool),
    ),
    "llama_token_to_piece": (
        c.c_int32,
        (_POINTER, c.c_int32, c.c_char_p, c.c_int32, c.c_int32, c.c_bool),
    ),
}


@cache
def library() -> c.CDLL:
    """llama.cpp, loaded once a process and checked. Raises EngineUnusable."""
    try:
        installed = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise EngineUnusable(f"{PACKAGE} is not installed; install {PACKAGE}=={VERSION}") from None
    if installed.version != VERSION:
        raise EngineUnusable(
            f"{PACKAGE} {installed.version} is installed, but its struct layouts are known for {VERSION} only; "
            f"install {PACKAGE}=={VERSION}"
        )
    loaded = c.CDLL(str(_shared_object(installed)))
    _declare(loaded)
    # The log callback must outlive the library; without it llama.cpp writes hundreds of lines to stderr.
    loaded.llama_log_set(_QUIET, None)
    loaded.llama_backend_init()
    return loaded


def default_model_params() -> ModelParams:
    params: ModelParams = library().llama_model_default_params()
    return params


def default_context_params() -> ContextParams:
    params: ContextParams = library().llama_context_default_params()
    return params


def differences(params: c.Structure, expected: dict[str, Any]) -> list[str]:
    """The fields that do not hold what this build's defaults are known to be."""
    found = []
    for name, *_ in params._fields_:
        value = getattr(params, name)
        wanted = expected.get(name, 0)
        if (value or 0) != wanted:
            found.append(f"{name} is {value}, not {wanted}")
    return found


def _shared_object(installed: importlib.metadata.Distribution) -> Path:
    for file in installed.files or ():
        if file.name.startswith(f"{PACKAGE}.") and file.suffix == ".so":
            return Path(str(installed.locate_file(file)))
    raise EngineUnusable(f"{PACKAGE} {installed.version} has no shared object; install it anew")


def _declare(loaded: c.CDLL) -> None:
    """Types of every function we call; then the proof that the layouts fit."""
    try:
        for name, (result, parameters) in _FUNCTIONS.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, parameters
        for name, kind, expected in (
            ("llama_model_default_params", ModelParams, MODEL_DEFAULTS),
            ("llama_context_default_params", ContextParams, CONTEXT_DEFAULTS),
        ):
            function = getattr(loaded, name)
            # Room behind the struct: should this build's be longer, the call must not write beyond our memory.
            function.restype, function.argtypes = _roomy(kind), ()
            filled = function()
            wrong = differences(filled.params, expected)
            if wrong:
                raise EngineUnusable(
                    f"{PACKAGE} {VERSION}: {kind.__name__} has another layout than known "
                    f"({'; '.join(wrong)}); use the wheel from the package index"
                )
            function.restype = kind
    except AttributeError as error:
        raise EngineUnusable(f"{PACKAGE} {VERSION} lacks a function: {error}") from None


def _roomy(kind: type[c.Structure]) -> type[c.Structure]:
    class Roomy(c.Structure):
        _fields_ = (("params", kind), ("room", c.c_uint8 * 256))

    return Roomy


def _ignore(_level: int, _text: bytes, _data: object) -> None:
    """Takes llama.cpp's log lines."""


_QUIET: Final = LOG_CALLBACK(_ignore)
