"""The configuration plane: the ODB below it, the node's live view of it above."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import msgspec
from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from zope.interface import Attribute, Interface

from zatotx.schema.snapshot import Actor, Changes, Operation, Snapshot


def _nothing() -> None:
    """There is nothing to do."""


@frozen
class Prepared:
    """A new configuration of one part of a node, built and not in force yet. Exactly one of both is called, once.

    `commit` brings it into force, at once: nothing is waited for between the commits of all parts, so that no request
    meets some of them old and others new. What it returns is done afterwards, and waited for before the change is
    said to be in force. `discard` drops it, because another part could not be prepared.
    """

    commit: Callable[[], Deferred[None] | None] = _nothing
    discard: Callable[[], None] = _nothing


Prepare = Callable[[Snapshot], Awaitable[Prepared]]


class OutdatedSnapshot(Exception):  # noqa: N818 - a state, not an error
    """Raised while a snapshot is prepared: what goes with it is of a later revision already."""


def at_once(apply: Callable[[Snapshot], Deferred[None] | None]) -> Prepare:
    """What prepares a part that has nothing to build beforehand: all is done by the commit."""
    return lambda snapshot: succeed(Prepared(partial(apply, snapshot)))


def commit_at_once(preparing: Deferred[Prepared]) -> Deferred[None]:
    """Bring one part's configuration into force as soon as it is prepared, whatever the others have."""
    return preparing.addCallback(lambda prepared: prepared.commit())


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A server of the cluster, or one of its workers, as its ODB row says."""

    id: int
    name: str
    host: str = ''
    bind_host: str = ''
    bind_port: int = 0
    up_status: str = ''  # 'running', 'clean-down' (Zato's)
    seen_at: float = 0.0  # unix time of its last sign of life
    applied_revision: int = 0
    pid: int = 0
    last_join_status: str = 'accepted'
    worker: int = 0  # which of the server's processes: each has a row


class FileVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One kept version of one deployed file or package."""

    id: int
    file: str  # 'crm.py', or 'crm' for a package
    number: int  # 1, 2, 3 … per file
    form: str  # 'module' or 'package' (content = zip)
    sha256: str
    created: float  # unix time
    by: str
    active: bool
    services: tuple[str, ...] = ()  # names found in it when it was checked
    revision: int = 0  # the cluster's revision that made it active


class HistoryRow(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one object, or one deployment."""

    revision: int  # of the cluster, that the change made
    at: float  # unix time
    who: str
    source: str  # the door: a channel's name, a command
    action: str  # 'create', 'edit', 'delete', 'deploy', 'activate'
    type: str  # of the object, or 'file'
    name: str
    old: dict[str, object]  # secrets masked; of an edit only what changed
    new: dict[str, object]
    address: str = ''  # of the caller
    cid: str = ''


class IConfigStore(Interface):
    """The ODB's side. Every method returns a Deferred that fails with ServiceUnavailable or Timeout where the
    database is away, within its own deadline; nothing runs in the reactor's thread."""

    def revision() -> Deferred[int]:
        """The cluster's revision now: raised by every write, in the same transaction."""

    def changes(since: int) -> Deferred[Changes]:
        """What changed after that revision; `changes(0)` = everything."""

    def write(operations: Sequence[Operation], actor: Actor) -> Deferred[int]:
        """All of it or nothing; the new revision. Raises Conflict (409) naming a name that is taken, an object that is
        still referred to, or who changed an object after its editor saw it; NotFound for an unknown id."""

    def history(limit: int = 100, **which: Any) -> Deferred[list[HistoryRow]]:
        """Newest first. `which`: type, name (what the object is or was called), since (a revision), revision."""

    def state_at(revision: int) -> Deferred[Snapshot]:
        """All objects as they were after that revision. Raises NotFound naming the revisions that are kept."""

    def add_version(
        file: str, form: str, content: bytes, services: Sequence[str], actor: Actor
    ) -> Deferred[FileVersion]:
        """Store the version and make it the active one, in one transaction that raises the revision; service rows
        follow. Keeps 20 versions a file. The same content as the active version's adds none and gives that one.
        Raises Conflict where a service name belongs to another file."""

    def activate_version(file: str, number: int | None, actor: Actor) -> Deferred[FileVersion]:
        """Roll back: to `number`, or to the one before the active. Raises NotFound naming what there is."""

    def versions(file: str | None = None) -> Deferred[list[FileVersion]]:
        """All kept versions, by file and number."""

    def version_content(version_id: int) -> Deferred[bytes]:
        """What was stored. Raises NotFound."""

    def register_node(name: str, host: str, port: int, pid: int, worker: int = 0) -> Deferred[NodeRow]:
        """This node is up now. `worker`: which process of its server it is; each has a row and a beat of its own."""

    def beat(node_id: int, applied_revision: int, verdicts: dict[int, str]) -> Deferred[int]:
        """A sign of life with what the node runs; `verdicts` = version id -> '' (runs) or why it was refused.
        Raises no revision; gives the cluster's revision, so that one trip does for both."""

    def node_down(node_id: int) -> Deferred[None]:
        """A clean stop."""

    def remove_node(node_id: int) -> Deferred[None]:
        """Forget a server. Raises Conflict where it is up, NotFound for an unknown id."""

    def nodes() -> Deferred[list[NodeRow]]:
        """All servers of the cluster, a row a worker, by name and worker."""

    def version_verdicts(version_id: int) -> Deferred[dict[str, str]]:
        """Server name -> its verdict on that version: '' where all its workers run it, else why the first refused.
        A server of which a worker that is up has said nothing yet is not among them."""

    def next_epoch(name: str) -> Deferred[int]:
        """The next number of that sequence: 1, 2, 3 …, each given once in the cluster, greater than all before,
        whatever becomes of Redis. One transaction."""

    def close() -> Deferred[None]:
        """Finish what is under way, close connections and threads."""


class IConfig(Interface):
    """A node's live configuration."""

    snapshot: Snapshot = Attribute('What is in force on this node')

    def change(operations: Sequence[Operation], actor: Actor) -> Deferred[int]:
        """Write, then have it in force on this node and announced to the others; fires with the revision."""

    def everywhere(revision: int, timeout: float = 10.0) -> Deferred[list[str]]:
        """Fires when every living node runs this revision: the names of those that did not in time."""
