"""Interfaces of Redis: commands, publish/subscribe, and functions that are based on them, such as leases, streams and
nonces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha1
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from zatotx.model.errors import Conflict, ServiceUnavailable


@frozen
class LuaScript:
    """A Lua script. It may access only the keys that are passed to it."""

    name: str  # for messages
    text: str
    sha: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        # Redis identifies scripts by SHA-1; this is not a security measure.
        object.__setattr__(self, 'sha', sha1(self.text.encode(), usedforsecurity=False).hexdigest())


class IScriptRunner(Interface):
    """Runs Lua scripts. The text of each script is sent to Redis only once."""

    def run(script: LuaScript, keys: Sequence[str], args: Sequence[object] = ()) -> Deferred[Any]:
        """Run a script atomically; fires with its result. Sends the script's text again if Redis has lost it. Fails
        like ICommands.execute."""


class LeaseHeld(Conflict):
    """The lease is held by another owner. `expires_in` is the number of seconds until the lease expires unless its
    owner renews it."""

    def __init__(self, msg: str, expires_in: float) -> None:
        super().__init__(None, msg)
        self.expires_in = expires_in


class LeaseLost(ServiceUnavailable):
    """The lease was lost while its holder still needed it."""


class ILease(Interface):
    """A lease that renews itself until it is released or lost."""

    name: str = Attribute('Name of the lease')
    token: int = Attribute('Fencing token: increases with every lease in the cluster, even if Redis loses its data. '
                           'Writes can be rejected if a higher token was seen: see IFences')
    is_held: bool = Attribute(
        'Whether the lease is certainly held, judged by this process and its clock alone. Check it'
        ' right before each action'
    )

    def when_lost() -> Deferred[str]:
        """Fires with a sentence when the lease is lost, or with '' after a release."""

    def release() -> Deferred[None]:
        """Release the lease. Never fails: if Redis is unreachable, the lease expires. Idempotent."""


class ILeaseStore(Interface):
    """Cluster-wide leases by name, each with one holder at a time."""

    def acquire(name: str, *, ttl: float, wait: float = 0.0) -> Deferred[ILease]:
        """Acquire a lease; if it is held, retries for up to `wait` seconds. `ttl`: seconds (0.2 to 86,400) after which
        it expires if its holder dies. Fails with Busy; with Timeout or ServiceUnavailable if Redis, or the ODB after
        Redis lost its data, is unavailable. May be cancelled: then the lease is free after `ttl` at the latest."""


class IFencedWriter(Interface):
    """Writes to Redis with fencing tokens, so that writes of former lease holders are rejected."""

    def write(name: str, token: int, commands: Sequence[Sequence[object]]) -> Deferred[list[Any]]:
        """Execute commands atomically unless a higher fencing token was seen under this name; fires with their results.
        Fails with Conflict if one was, and nothing is written. Fails with ResponseError if Redis rejects a command,
        after the preceding ones were executed. Otherwise fails like ICommands.execute."""


@frozen(kw_only=True)
class StreamEntry:
    """An entry of a Redis stream, as delivered to a consumer."""

    id: str
    fields: Mapping[str, str | bytes]
    deliveries: int = 1  # number of deliveries, including this one


@frozen(kw_only=True)
class StreamBacklog:
    """The length of a stream and the number of its unacknowledged entries."""

    length: int  # entries in the stream
    pending: int  # delivered but not acknowledged
    consumers: Mapping[str, int]  # consumer -> number of its pending entries


class IStream(Interface):
    """A Redis stream with one consumer group. Each entry is delivered to one consumer, and to another consumer if the
    first one does not acknowledge it. Entries are as durable as the data in Redis."""

    def add(fields: Mapping[str, str | bytes]) -> Deferred[str]:
        """Append an entry; fires with its id when Redis has accepted it. Fails like ICommands.execute; the entry may
        exist nevertheless."""

    def backlog() -> Deferred[StreamBacklog]:
        """Return the number of entries."""

    def consumers() -> Deferred[Mapping[str, int]]:
        """Return the number of unacknowledged entries of each consumer, including those without any."""

    def trim(max_length: int) -> Deferred[int]:
        """Delete the oldest entries, delivered or not, until `max_length` are left. Fires with the number of deleted
        entries."""

    def remove_consumer(consumer: str) -> Deferred[bool]:
        """Remove a consumer that will not return. Fires with False, without removing it, while it has unacknowledged
        entries: claim them first."""


class IConsumer(Interface):
    """One consumer of a stream."""

    def read(count: int, wait: float) -> Deferred[list[StreamEntry]]:
        """Fires with up to `count` entries as soon as there is one; with [] after `wait` seconds. First come entries
        that were delivered to this consumer but never arrived because the response was lost or the read cancelled.
        Allows one read at a time. May be cancelled. Fails like ICommands.execute."""

    def claim(idle: float, count: int = 10) -> Deferred[list[StreamEntry]]:
        """Take over entries that any consumer, including this one, did not acknowledge within `idle` seconds. With
        concurrent callers, each entry goes to one of them."""

    def take_over(owner: str, count: int = 10) -> Deferred[list[StreamEntry]]:
        """Take over unacknowledged entries of one other consumer, whose process has ended, however recently it received
        them. With concurrent callers, each entry goes to one of them."""

    def ack(ids: Sequence[str]) -> Deferred[int]:
        """Acknowledge and delete entries. Fires with the number deleted; entries that another consumer claimed and
        acknowledged, or that were trimmed, do not count."""


# Interfaces of the Redis connection: commands and publish/subscribe. See interfaces/redis.py for what is built on
# them.

class IPubSub(Interface):
    """Publish/subscribe to all nodes of the cluster. Delivery is at most once, unordered and not persistent. Changes
    that nodes must not miss are stored in the ODB and detected by their revision."""

    def publish(topic: str, message: str) -> Deferred[None]:
        """Publish a message to all nodes. Fails with ServiceUnavailable if Redis is unavailable, within its
        deadline."""

    def subscribe(topic: str, callback: Callable[[str], None]) -> None:
        """Call `callback` with each further message, across reconnects."""


class ICommands(Interface):
    """Redis commands with a timeout. A command that fails with Timeout or ServiceUnavailable may have been executed;
    such a command is never sent again."""

    def execute(command: str, *args: object) -> Deferred[object]:
        """Execute one Redis command. Fails with Timeout or ServiceUnavailable naming Redis (RedisNotReady if Redis
        reports a temporary state), or with RedisError as reported by Redis."""


class IPipelinedCommands(Interface):
    """Executes several Redis commands in one pipeline."""

    def execute_batch(commands: Sequence[Sequence[object]]) -> Deferred[list[object]]:
        """Execute commands in one write and fires with their results in order; all share one deadline. Commands are
        executed independently: the result of one that Redis rejects is a RedisError or RedisNotReady. Fails as a whole
        with Timeout or ServiceUnavailable if the connection is lost: then any prefix of the commands may have been
        executed."""


class ITransactions(Interface):
    """Executes Redis transactions (MULTI and EXEC)."""

    def execute_transaction(commands: Sequence[Sequence[object]]) -> Deferred[list[object]]:
        """Execute commands as one transaction (MULTI … EXEC) and fires with their results in order; the result of one
        that fails during the execution is a RedisError, and the others are executed all the same, as always in Redis.
        Fails with RedisError if Redis rejects a command before, and then executes none; otherwise like
        IPipelinedCommands.execute_batch, after which either all or none were executed."""


class RedisError(Exception):
    """Redis replied to a command with an error."""

    @property
    def code(self) -> str:
        """The error code at the start of the message: 'WRONGTYPE', 'NOSCRIPT', 'NOGROUP' …; '' if there is none."""
        word = str(self).partition(' ')[0]
        return word if word.isupper() else ''


class RedisNotReady(ServiceUnavailable):
    """Redis replies but cannot execute commands at the moment. `code` is LOADING (Redis is loading its data after a
    start), READONLY (Redis is a replica), OOM (out of memory), MISCONF (cannot write to its disk), BUSY (a script is
    running) or another error code of Redis."""

    def __init__(self, msg: str, code: str) -> None:
        super().__init__(None, msg)
        self.code = code


class INonceStore(Interface):
    """Stores the nonces that the whole cluster has used, to detect replay."""

    def consume(name: str, ttl: float) -> Deferred[bool]:
        """Fires with True for the first caller in the cluster, with False for all others within `ttl` seconds. Fails
        with Timeout or ServiceUnavailable if the store is unavailable. After cancellation or failure the nonce may
        count as used."""
