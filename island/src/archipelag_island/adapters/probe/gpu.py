"""Graphics processors by NVML; none when its package or the driver is missing."""

from __future__ import annotations

import logging

from archipelag_island.domain.capability import Gpu

log = logging.getLogger(__name__)


def gpus() -> tuple[Gpu, ...]:
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            device = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = int(pynvml.nvmlDeviceGetMemoryInfo(device).total)
            found.append(Gpu(_text(pynvml.nvmlDeviceGetName(device)), memory, driver))
        return tuple(found)
    except pynvml.NVMLError as error:
        log.warning("gpus_not_readable error=%s", error)
        return ()
    finally:
        pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
