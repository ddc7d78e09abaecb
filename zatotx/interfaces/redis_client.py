"""Interfaces of the Redis connection: commands and publish/subscribe. See interfaces/redis.py for what is built on
them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from zope.interface import Interface

from zatotx.model.errors import ServiceUnavailable


class IPubSub(Interface):
    """Publish/subscribe to all nodes of the cluster: delivers at most once, unordered and not stored. Changes that
    nodes must not miss are in the ODB and found by their revision."""

    def publish(topic: str, message: str) -> Deferred[None]:
        """Publishes a message to all nodes. Fails with ServiceUnavailable if Redis is unavailable, within its
        deadline."""

    def subscribe(topic: str, callback: Callable[[str], None]) -> None:
        """Calls `callback` with each further message, across reconnects."""


class ICommands(Interface):
    """Redis commands with a deadline. A command that fails with Timeout or ServiceUnavailable may have been executed;
    it is never sent again."""

    def execute(command: str, *args: object) -> Deferred[object]:
        """Executes one Redis command. Fails with Timeout or ServiceUnavailable naming Redis (RedisNotReady if Redis
        reports a temporary state), or with RedisError as reported by Redis."""


class IPipelinedCommands(Interface):
    """Pipelined Redis commands."""

    def execute_batch(commands: Sequence[Sequence[object]]) -> Deferred[list[object]]:
        """Executes commands in one write and fires with their results in order; all share one deadline. Commands are
        executed independently: the result of one that Redis rejects is a RedisError or RedisNotReady. Fails as a
        whole with Timeout or ServiceUnavailable if the connection is lost: then any prefix of the commands may have
        been executed."""


class ITransactions(Interface):
    """Redis transactions."""

    def execute_transaction(commands: Sequence[Sequence[object]]) -> Deferred[list[object]]:
        """Executes commands as one transaction (MULTI … EXEC) and fires with their results in order; the result of one
        that fails during the execution is a RedisError, and the others are executed all the same, as always in Redis.
        Fails with RedisError if Redis rejects a command before, and then executes none; otherwise like
        IPipelinedCommands.execute_batch, after which either all or none were executed."""


class RedisError(Exception):
    """An error reply of Redis to a command."""

    @property
    def code(self) -> str:
        """The error code at the start of the message: 'WRONGTYPE', 'NOSCRIPT', 'NOGROUP' …; '' if there is none."""
        word = str(self).partition(' ')[0]
        return word if word.isupper() else ''


class RedisNotReady(ServiceUnavailable):
    """Redis responds but cannot execute commands now. `code`: LOADING (reads its data after a start), READONLY (is a
    replica), OOM (out of memory), MISCONF (cannot write to its disk), BUSY (a script runs) …"""

    def __init__(self, msg: str, code: str) -> None:
        super().__init__(None, msg)
        self.code = code
