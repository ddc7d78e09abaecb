"""What is built on Redis for everybody else: scripts, leases, fenced writes, streams of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha1
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from zatotx.model.errors import Conflict


@frozen
class Script:
    """A Lua script. It may touch the keys it is given and no others."""

    name: str  # for people
    text: str
    sha: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        # SHA-1 is Redis's name for a script, no protection.
        object.__setattr__(self, 'sha', sha1(self.text.encode(), usedforsecurity=False).hexdigest())


class IScripts(Interface):
    """Runs Lua scripts, each sent to Redis once."""

    def run(script: Script, keys: Sequence[str], args: Sequence[object] = ()) -> Deferred[Any]:
        """What the script returns, all of it done or nothing. A Redis that does not know it (any more) is given its
        text. Fails as IKeyValue.execute does."""


class Busy(Conflict):
    """Somebody else holds the lease. `left`: seconds until it would run out without being renewed."""

    def __init__(self, msg: str, left: float) -> None:
        super().__init__(None, msg)
        self.left = left


class ILease(Interface):
    """Held until it is released or lost; renewed by itself meanwhile."""

    name: str = Attribute('Whose')
    token: int = Attribute('Grows with every lease that anybody in the cluster gets, also over a loss of Redis. A '
                           'write that carries it can be refused where a higher one was seen: see IFences')
    held: bool = Attribute('Whether it is certain now that nobody else has it, by this process alone and its own '
                           'clock. To be asked right before each act')

    def lost() -> Deferred[str]:
        """Fires with a sentence once it is not held any more without having been released; with '' after a release."""

    def release() -> Deferred[None]:
        """Give it back. Never fails: what Redis does not hear of runs out by itself. Idempotent."""


class ILeases(Interface):
    """Leases of the cluster, by name: one holder at a time."""

    def acquire(name: str, *, ttl: float, wait: float = 0.0) -> Deferred[ILease]:
        """Take it; where somebody has it, try for up to `wait` seconds. `ttl`: seconds (0.2 to 86,400) after which a
        holder that died loses it. Fails with Busy; with Timeout or ServiceUnavailable where Redis, or the ODB after a
        loss of Redis, is away. May be cancelled: then it is not held, at the latest after `ttl`."""


class IFences(Interface):
    """Writes to Redis that old leaders cannot make."""

    def write(name: str, token: int, commands: Sequence[Sequence[object]]) -> Deferred[list[Any]]:
        """Carry out these commands, with nobody's in between, unless a higher token was seen under this name. Their
        answers. Fails with Conflict, and nothing is written, where one was; with ResponseError where Redis refuses one
        of them, those before it are done then; as IKeyValue.execute else."""


@frozen(kw_only=True)
class Entry:
    """One entry of a stream, as a consumer gets it."""

    id: str
    fields: Mapping[str, str | bytes]
    deliveries: int = 1  # how often it was handed out, this time included


@frozen(kw_only=True)
class Backlog:
    """What was handed out and not acknowledged, and how much there is at all."""

    length: int  # entries in the stream
    pending: int  # handed out, not acknowledged
    consumers: Mapping[str, int]  # consumer -> of them


class IStream(Interface):
    """One stream with one group of consumers: each entry goes to one of them, and to another one where that one does
    not acknowledge it. Kept by Redis, so it survives everybody's restart, as far as Redis keeps its data."""

    def add(fields: Mapping[str, str | bytes]) -> Deferred[str]:
        """Append an entry; its id. It counts as accepted when this fires. Fails as IKeyValue.execute does: then it may
        be there all the same."""

    def backlog() -> Deferred[Backlog]:
        """How much there is."""

    def trim(longest: int) -> Deferred[int]:
        """Drop the oldest entries, handed out or not, until `longest` are left. How many went."""

    def forget(consumer: str) -> Deferred[bool]:
        """Strike out a consumer that is gone for good. False, and it stays, while it has entries that it did not
        acknowledge: claim them first."""


class IConsumer(Interface):
    """One consumer of a stream."""

    def read(count: int, wait: float) -> Deferred[list[Entry]]:
        """Up to `count` entries, as soon as there is one; [] after `wait` seconds without. First come those that were
        handed to this consumer and never reached it: their answer was lost, or the read that waited for them was
        cancelled. One read at a time. May be cancelled. Fails as IKeyValue.execute does."""

    def claim(idle: float, count: int = 10) -> Deferred[list[Entry]]:
        """Take over what anybody was handed and did not acknowledge within `idle` seconds, this consumer too; each
        entry by one caller, however many ask at once."""

    def ack(ids: Sequence[str]) -> Deferred[int]:
        """Done with these: they leave the stream. How many did; one that somebody else claimed and was done with, or
        that was trimmed away, counts as none."""
