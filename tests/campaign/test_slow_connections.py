"""Connections that say nothing, too little, or too slowly are closed within a minute."""

import socket
import time
from pathlib import Path

import grpc

from groundswell.profile.v1.catalogue_service_pb2 import GetItemRequest
from groundswell.profile.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from tests.support.processes import Process, free_port

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
PATH = b"/groundswell.profile.v1.CatalogueService/GetItem"
LITERALS = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", PATH), (b":authority", b"x"))
OTHERS = ((b"content-type", b"application/grpc"), (b"te", b"trailers"))
LONGEST_S = 60.0


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, section 4.1)."""
    return len(body).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + body


def headers() -> bytes:
    """The headers of a call, each as a literal that is not indexed (RFC 7541, section 6.2.2)."""
    block = b"".join(
        b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
        for name, value in (*LITERALS, *OTHERS)
    )
    return frame(1, 4, 1, block)


def test_slow_and_half_open_connections_are_closed_and_delay_nobody(tmp_path: Path) -> None:
    port = free_port()
    environment = {"GROUNDSWELL_PORT": str(port)}
    server = Process(["-m", "tests.support.probe_server"], environment, tmp_path / "log")
    # The other end of the last one is gone without a word: nobody answers pings.
    gone = PREFACE + SETTINGS + frame(4, 1, 0, b"")
    # The first announces a message of a kilobyte, and sends a byte a second.
    begun = PREFACE + SETTINGS + headers() + frame(0, 0, 1, b"\x00\x00\x00\x04\x00")
    with server, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        server.wait_serving(f"127.0.0.1:{port}")
        beginnings = [begun, PREFACE + SETTINGS, PREFACE, PREFACE[:9], b"", gone] * 10
        slow = {socket.create_connection(("127.0.0.1", port)): text for text in beginnings}
        for one, text in slow.items():
            one.sendall(text)
            one.setblocking(False)
        began_s, num_answered = time.monotonic(), 0
        closed: list[bytes] = []
        while slow:
            assert time.monotonic() - began_s < LONGEST_S, set(slow.values())
            CatalogueServiceStub(channel).GetItem(GetItemRequest(item_id="a"), timeout=1)
            num_answered += 1
            for one in [one for one in slow if is_closed(one, drips=slow[one] is begun)]:
                closed.append(slow.pop(one))
                one.close()
            time.sleep(1)
        assert num_answered > 10
        assert len(closed) == len(beginnings)


def is_closed(one: socket.socket, *, drips: bool) -> bool:
    """Read what the server said; tell whether it closed the connection."""
    try:
        if drips:
            one.send(frame(0, 0, 1, b"x"))
        while one.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
