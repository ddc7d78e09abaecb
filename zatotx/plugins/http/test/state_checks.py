"""Checks the transitions of connections and calls while tests run: each must be in the table of its class."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any

from twisted.logger import Logger

from zatotx.plugins.http.client import client_connection as client
from zatotx.plugins.http.client.pending_call import NEXT_STAGES, PendingCall
from zatotx.plugins.http.server import connection as server
from zatotx.plugins.http.server.request_reader import NEXT_PHASES, RequestReader


class CheckedState:
    """Replaces the slot of a state, and raises AssertionError for a transition that the table does not list. The error
    is logged too, so that a test fails whose code under test handles it."""

    _log = Logger()

    def __init__(self, slot: Any, table: Mapping[Any, Collection[Any]]) -> None:
        self._slot = slot
        self._table = table

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        return self if owner is None else self._slot.__get__(owner, kind)

    def __set__(self, owner: Any, state: Enum) -> None:
        try:
            before = self._slot.__get__(owner)
        except AttributeError:  # the first state
            before = state
        if state is not before and state not in self._table[before]:
            try:
                raise AssertionError(f'{type(owner).__name__} went from {before} to {state}')
            except AssertionError:
                self._log.failure('A transition is missing in the table')
                raise
        self._slot.__set__(owner, state)


def check_transitions() -> None:
    """Check the transitions of all connections and calls of the HTTP kind from now on."""
    for checked, attribute, table in (
        (server.ServerConnection, '_state', server.NEXT_STATES),
        (RequestReader, 'phase', NEXT_PHASES),
        (client.ClientConnection, '_state', client.NEXT_STATES),
        (PendingCall, 'stage', NEXT_STAGES),
    ):
        setattr(checked, attribute, CheckedState(getattr(checked, attribute), table))
