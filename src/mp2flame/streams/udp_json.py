"""One JSON object a frame over UDP: the simplest stream to receive in any language."""

from __future__ import annotations

from typing_extensions import override

from mp2flame.data import Frame, HeadLike
from mp2flame.streams.base import DatagramSink, parse_address
from mp2flame.streams.messages import json_frame


class UdpSink(DatagramSink):
    """Sends frames as JSON; the documentation of the stream formats describes the object."""

    @classmethod
    def from_url(cls, url: str, *, head: HeadLike | None = None) -> UdpSink:  # noqa: ARG003 - a frame does not describe the head
        """Send to `udp://HOST:PORT`.

        Raises:
            InputError: the address has another form.
            SinkError: the host's address cannot be found.
        """
        return cls(parse_address(url, host_needed=True))

    @override
    def encode(self, frame: Frame) -> bytes:
        return json_frame(frame, self.sent + self.lost).encode()
