"""WASM: modules in wasmtime, which itself runs in the native sandbox. `runtime` is the Island's part of it.

Nothing is imported here, so that the engine in the sandbox loads what it needs only.
"""
