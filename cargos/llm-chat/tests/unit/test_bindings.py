"""The layouts of llama.cpp's structs: checked against the library itself, so that a wrong one is loud."""

import pytest
from archipelag_llm_chat import bindings
from archipelag_llm_chat.errors import EngineUnusable


def test_the_library_writes_the_defaults_we_know() -> None:
    assert bindings.differences(bindings.default_context_params(), bindings.CONTEXT_DEFAULTS) == []
    assert bindings.differences(bindings.default_model_params(), bindings.MODEL_DEFAULTS) == []


def test_a_shifted_layout_is_noticed() -> None:
    params = bindings.default_context_params()
    shifted = bindings.ContextParams.from_buffer_copy(bytes(4) + bytes(params)[:-4])

    assert len(bindings.differences(shifted, bindings.CONTEXT_DEFAULTS)) > 5


def test_another_version_of_the_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bindings, "VERSION", "1.2.3")
    bindings.library.cache_clear()

    with pytest.raises(EngineUnusable, match=r"install xllamacpp==1\.2\.3"):
        bindings.library()
