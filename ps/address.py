"""An address as a person writes it: host:port."""

from __future__ import annotations

import re

MAX_PORT = 65535


def port_of(address: str, lowest: int = 1) -> int:
    """Give the port in host:port.

    Args:
        lowest: 0 where any free port may be asked for, 1 where somebody is to be found there.

    Raises:
        ValueError: there is none, or gRPC would take it for another.

    >>> port_of("[::1]:7070"), port_of("shard-1.example.org:0", lowest=0)
    (7070, 0)
    """
    match = re.fullmatch(r"\S+:(\d+)", address)
    if match is None or not lowest <= int(match[1]) <= MAX_PORT:
        raise ValueError(f"{address!r} must be host:port, with a port from {lowest} to {MAX_PORT}")
    return int(match[1])
