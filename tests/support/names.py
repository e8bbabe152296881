"""A name server on loopback whose answers a test changes, for targets of gRPC."""

import socket
import struct
import threading

_A, _IN = 1, 1
_TTL_S = 0


class NameServer:
    """Answers for every name with the addresses that are listed under its first label."""

    def __init__(self, socket_: socket.socket) -> None:
        self.addresses: dict[str, list[str]] = {}
        self._socket = socket_

    def target(self, name: str, port: int) -> str:
        """The target of gRPC that asks this server for a name."""
        return f"dns://127.0.0.1:{self._socket.getsockname()[1]}/{name}.test:{port}"

    def serve(self) -> None:
        """Answer until the process ends."""
        while True:
            asked, sender = self._socket.recvfrom(512)
            self._socket.sendto(self._answer(asked), sender)

    def _answer(self, asked: bytes) -> bytes:
        end = asked.index(b"\0", 12) + 5
        name = asked[13 : 13 + asked[12]].decode()
        kind, _ = struct.unpack("!HH", asked[end - 4 : end])
        found = self.addresses.get(name, []) if kind == _A else []
        head = asked[:2] + struct.pack("!HHHHH", 0x8580, 1, len(found), 0, 0)
        record = struct.pack("!HHHIH", 0xC00C, _A, _IN, _TTL_S, 4)
        return head + asked[12:end] + b"".join(record + socket.inet_aton(one) for one in found)


def name_server() -> NameServer:
    """Start a name server."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(("127.0.0.1", 0))
    server = NameServer(bound)
    threading.Thread(target=server.serve, daemon=True).start()
    return server
