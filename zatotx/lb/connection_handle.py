"""The connections of clients, as a frontend ends them."""

from __future__ import annotations

from typing import Protocol


class ClientConnectionHandle(Protocol):
    """A connection of a client."""

    def server_down(self, backend: str, server: str) -> None:
        """Stop waiting for a server, if another one can take its place: probes find it down."""

    def close_if_idle(self) -> None:
        """Close the connection if nothing is in progress."""

    def abort(self) -> None:
        """Close the connection at once."""
