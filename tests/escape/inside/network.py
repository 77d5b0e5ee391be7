"""Attempts to speak with anybody."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

from probe import Refused, World, probe

CONNECT_S = 2.0


def _hear(family: int, address: object, world: World) -> str:
    """Connects, and is told the token: so it is the host that answers."""
    with socket.socket(family, socket.SOCK_STREAM) as line:
        line.settimeout(CONNECT_S)
        line.connect(address)
        if not world.has_token(line.recv(1000)):
            raise Refused("somebody else answers")
    return "spoke with the host"


@probe(
    "connect to a port on the host's loopback (the broker, the database, the Coordinator)",
    "anybody",
)
def loopback(world: World) -> str:
    return _hear(socket.AF_INET, ("127.0.0.1", world.port), world)


@probe("connect to the host by its address", "anybody")
def host_address(world: World) -> str:
    return _hear(socket.AF_INET, (world.address, world.port), world)


@probe("connect over IPv6", "maybe")
def loopback_six(world: World) -> str:
    return _hear(socket.AF_INET6, ("::ffff:127.0.0.1", world.port), world)


@probe("connect to a Unix socket of the host that has no file", "anybody")
def abstract_socket(world: World) -> str:
    return _hear(socket.AF_UNIX, "\0" + world.abstract, world)


@probe("connect to a Unix socket of the host that has a file", "anybody")
def unix_socket(world: World) -> str:
    return _hear(socket.AF_UNIX, world.socket, world)


@probe("connect to the container engine's socket", "maybe")
def engine_socket(world: World) -> str:
    for path in (
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run/podman/podman.sock",
        "/run/containerd/containerd.sock",
    ):
        with socket.socket(socket.AF_UNIX) as line:
            try:
                line.connect(path)
                return f"connected to {path}"
            except OSError as error:
                last = error
    raise last


@probe("reach the cloud's metadata service", "maybe")
def metadata(world: World) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.connect(("169.254.169.254", 80))  # sends nothing: whether there is a way
    return "there is a way to it"


@probe("ask a name server", "maybe")
def name_server(world: World) -> str:
    question = (
        struct.pack(">HHHHHH", 1, 256, 1, 0, 0, 0)
        + b"\x07example\x03org\x00"
        + struct.pack(">HH", 1, 1)
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.sendto(question, ("9.9.9.9", 53))
    return "sent a question"


@probe("resolve a name by the C library", "maybe")
def resolve(world: World) -> str:
    try:
        return f"got {socket.getaddrinfo('example.org', 80)[0][4]}"
    except socket.gaierror as error:
        raise Refused(str(error)) from None


@probe("listen where the host can connect", "anybody")
def listen(world: World) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(("0.0.0.0", world.call_back))
        door.listen()
        door.settimeout(CONNECT_S)
        try:
            line, _ = door.accept()
        except TimeoutError:
            raise Refused("nobody came") from None
        line.close()
    return "the host connected"


@probe("make a raw socket", "maybe")
def raw_socket(world: World) -> str:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return "made it"


@probe("make a packet socket", "maybe")
def packet_socket(world: World) -> str:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)).close()
    return "made it"


@probe("ask the kernel for its network (netlink)", "maybe")
def netlink(world: World) -> str:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as line:
        line.bind((0, 0))
        line.settimeout(CONNECT_S)
        line.send(struct.pack("=IHHIIBBHiII", 32, 18, 0x301, 1, 0, 0, 0, 0, 0, 0, 0))
        if line.recv(65536).count(b"eth"):
            return "sees the host's network"
    raise Refused("sees its own loopback only")


@probe("use the kernel's cryptography (AF_ALG)", "maybe")
def crypto_socket(world: World) -> str:
    with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as line:
        line.bind(("hash", "sha256"))
    return "made it"


@probe("speak with the hypervisor (AF_VSOCK)", "maybe")
def hypervisor_socket(world: World) -> str:
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
    return "made it"


@probe("use a socket of another Cargo", "maybe")
def other_cargo(world: World) -> str:
    mine = os.environ.get("ESCAPE_SOCKET", "")
    for folder in ("/tmp", "/run", "/var/run"):
        for path in Path(folder).rglob("cargo.sock"):
            if str(path) != mine and not str(path).startswith("/run/archipelag/"):
                return f"sees {path}"
    raise Refused("sees its own only")
