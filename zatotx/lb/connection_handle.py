"""Handles with which a frontend closes its client connections."""

from __future__ import annotations

from typing import Protocol


class ClientConnectionHandle(Protocol):
    """The interface of a client connection that a frontend can close."""

    def server_down(self, backend: str, server: str) -> None:
        """Stop waiting for a server, if another one can take its place: probes find it down."""

    def close_if_idle(self) -> None:
        """Close the connection if nothing is in progress."""

    def abort(self) -> None:
        """Close the connection at once."""
