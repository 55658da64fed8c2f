"""One JSON object a frame over UDP: the simplest thing to receive in any language."""

from __future__ import annotations

from typing import Any

from mp2flame.data import FlameParams, HeadLike, Observation
from mp2flame.streams.base import UdpSinkBase, parse_address
from mp2flame.streams.messages import json_frame


class UdpSink(UdpSinkBase):
    """Sends frames as JSON; docs/stream_protocol.md describes the object."""

    @classmethod
    def from_url(cls, url: str, *, head: HeadLike, **options: Any) -> UdpSink:  # noqa: ARG003 - a frame says nothing of the head
        """Send to `udp://HOST:PORT`.

        Raises:
            InputError: the address has another form.
            SinkError: no address is known for the host.
        """
        return cls(parse_address(url, host_needed=True), **options)

    def _packet(self, observation: Observation, params: FlameParams) -> bytes:
        return json_frame(observation, params, self.sent + self.lost).encode()
