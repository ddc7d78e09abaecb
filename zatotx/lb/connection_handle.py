"""Handles with which a frontend closes its client connections."""

from __future__ import annotations

from typing import Protocol


class ClientConnectionHandle(Protocol):
    """The interface of a client connection that a frontend can close."""

    def close_if_idle(self) -> None:
        """Close the connection if nothing is in progress."""

    def abort(self) -> None:
        """Close the connection at once."""
