"""Checks the address of a service: `HOST:PORT`, or a name that gRPC resolves."""

import re

_BY_GRPC = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):", re.IGNORECASE)
"""Prefixes of names that gRPC resolves by rules of its own."""
_OTHER_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\[\]/\s]+\]|[^\[\]:/\s]+):(?P<port>[^:/\[\]]*)")
_LARGEST_PORT = 65_535


def address_problem(address: str) -> str | None:
    """Say what is wrong with an address, in a few words; None for one that can be called.

    gRPC itself would call another port for one above 65535, port 443 without one, and would ask the
    name server for a text that is not an address.
    """
    if _BY_GRPC.match(address):
        port = re.fullmatch(r"dns:.*:(?P<port>\d+)", address, re.IGNORECASE)
        return None if port is None else _port_problem(port["port"])
    scheme = _OTHER_SCHEME.match(address)
    if scheme:
        return f"it begins with {scheme[0]}: write HOST:PORT alone"
    parts = _HOST_AND_PORT.fullmatch(address)
    if parts is None:
        is_ipv6 = address.count(":") > 1 and "[" not in address
        return "write [HOST]:PORT for an IPv6 host" if is_ipv6 else "write HOST:PORT"
    return _port_problem(parts["port"])


def _port_problem(port: str) -> str | None:
    is_number = port.isascii() and port.isdecimal()
    if is_number and len(port) <= len(str(_LARGEST_PORT)) and 1 <= int(port) <= _LARGEST_PORT:
        return None
    return f"its port is a number from 1 to {_LARGEST_PORT}"
