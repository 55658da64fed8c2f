"""One JSON object a frame over UDP: the simplest stream to receive in any language."""

from __future__ import annotations

from typing_extensions import Self, override

from mp2flame.data import Frame, HeadLike
from mp2flame.streams.base import DatagramSink, parse_address
from mp2flame.streams.messages import json_frame


class UdpSink(DatagramSink):
    """Sends frames as JSON, which the documentation of the stream formats describes, to `udp://HOST:PORT`."""

    @classmethod
    @override
    def from_url(cls, url: str, *, head: HeadLike | None = None) -> Self:
        return cls(parse_address(url, host_needed=True))

    @override
    def encode(self, frame: Frame) -> bytes:
        return json_frame(frame, self.sent + self.lost).encode()
