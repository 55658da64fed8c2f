"""Packets and messages of the network streams, packed and parsed; no sockets here."""
