"""How far away whoever connected is: what the kernel has measured of a TCP connection, where it tells."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import Final

_ROUND_TRIP: Final = struct.Struct("=68xI")
"""`tcpi_rtt` in Linux's `struct tcp_info` (`include/uapi/linux/tcp.h`), which only ever grows at its end."""


def round_trip_s(connection: asyncio.BaseTransport) -> float | None:
    """To the other end of this connection and back, in seconds; that is a proxy where there is one. None where nothing
    tells: on another system, without a TCP socket, or after it was closed."""
    if sys.platform != "linux" or connection.is_closing():
        return None  # What is closed may have left its number to another connection.
    found = connection.get_extra_info("socket")
    if found is None:
        return None
    try:
        told = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ROUND_TRIP.size)
    except OSError:
        return None
    return smoothed_s(told)


def smoothed_s(tcp_info: bytes) -> float | None:
    """The round trip in a `struct tcp_info`, in seconds. None where none was measured yet, or the table ends before."""
    if len(tcp_info) < _ROUND_TRIP.size:
        return None
    (microseconds,) = _ROUND_TRIP.unpack_from(tcp_info)
    return microseconds / 1_000_000 if microseconds else None
