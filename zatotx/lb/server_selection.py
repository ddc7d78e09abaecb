"""Selects a server for a request or a TCP connection. A slot is acquired immediately or through the queue of the
backend. If the connection to the selected server fails, another server is selected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.interfaces.load_balancer import (
    BalancingKey,
    IBackend,
    IServerSlot,
    NoServerAvailableError,
    ServerUseOutcome,
)

NO_SERVER, QUEUE_TIMEOUT = 'SC', 'sQ'  # how the log of HAProxy calls the reasons for having no server
T = TypeVar('T')


class SelectionOwner(Protocol):
    """The interface of a request or connection that needs a server."""

    def slot_acquired(self, slot: IServerSlot) -> None:
        """Use the slot: connect to its server, through `wait_for`."""

    def slot_awaited(self) -> None:
        """Note that all servers are full, and the owner waits in the queue of the backend."""

    def slot_unavailable(self, termination: str) -> None:
        """End: there is no server. `termination`: for the log."""


class ServerSelection(msgspec.Struct, eq=False):
    """The state of selecting a server for one request. `slot` is the concurrency slot that is currently held on a
    server. `release` cancels the selection and ignores the results of steps in progress.

    The owner is passed to each method: a reference to it would make a cycle, which only the garbage collector ends.
    """

    _log: ClassVar = Logger()

    _find_backend: Callable[[str], IBackend]
    _name: str
    _key: BalancingKey
    _attempt: int = 0  # changes when the current step is given up
    _excluded: tuple[str, ...] = ()
    _waiting: Deferred[Any] | None = None
    slot: IServerSlot | None = None

    def acquire(self, owner: SelectionOwner) -> None:
        """Get a slot: calls one of the owner's methods."""
        key = self._key
        try:
            backend = self._find_backend(self._name)
            try:
                slot = backend.acquire_now(key, self._excluded)
            except NoServerAvailableError:
                if not self._excluded:
                    raise
                self._excluded = ()  # all have been tried: one of them gets a second chance
                slot = backend.acquire_now(key)
        except (LookupError, NoServerAvailableError):
            owner.slot_unavailable(NO_SERVER)
            return
        if slot is not None:
            self.slot = slot
            owner.slot_acquired(slot)
            return
        owner.slot_awaited()
        waiting = self._waiting = backend.acquire(key, self._excluded)
        arguments = self._attempt, owner
        waiting.addCallbacks(self._acquired, self._not_acquired, arguments, errbackArgs=arguments)

    def acquire_another(self, owner: SelectionOwner) -> None:
        """Get a slot of a server that was not tried yet, if there is one. Call `release` before."""
        self.acquire(owner)

    def wait_for(
        self, opening: Deferred[T], connected: Callable[[T], None], not_connected: Callable[[], None]
    ) -> None:
        """Wait for a connection. One that comes after `release` is closed."""
        self._waiting = opening
        opening.addCallbacks(
            self._step_done, self._step_failed, (self._attempt, connected), errbackArgs=(self._attempt, not_connected)
        )

    def release(self, outcome: ServerUseOutcome) -> None:
        """Give the slot back, and cancel the step that is waited for."""
        self._attempt += 1
        waiting, self._waiting = self._waiting, None
        slot, self.slot = self.slot, None
        if waiting is not None:
            waiting.cancel()
        if slot is not None:
            if outcome is not ServerUseOutcome.RESPONDED:
                self._excluded = (*self._excluded, slot.name)
            slot.release(outcome)

    def _acquired(self, slot: IServerSlot, attempt: int, owner: SelectionOwner) -> None:
        if attempt != self._attempt:
            slot.release(ServerUseOutcome.ABANDONED)
            return
        self._waiting = None
        self.slot = slot
        owner.slot_acquired(slot)

    def _not_acquired(self, failure: Failure, attempt: int, owner: SelectionOwner) -> None:
        if attempt != self._attempt:
            return
        self._waiting = None
        if failure.check(NoServerAvailableError) is None:
            self._log.failure('A server of the backend {name} cannot be chosen', failure, name=self._name)
        owner.slot_unavailable(QUEUE_TIMEOUT)

    def _step_done(self, connection: Any, attempt: int, connected: Callable[[Any], None]) -> None:
        if attempt != self._attempt:
            connection.close()
            return
        self._waiting = None
        connected(connection)

    def _step_failed(self, failure: Failure, attempt: int, not_connected: Callable[[], None]) -> None:
        if attempt == self._attempt:
            self._waiting = None
            not_connected()
