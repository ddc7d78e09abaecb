"""Interfaces of the configuration: its storage in the ODB, and the active configuration of a node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from zope.interface import Attribute, Interface

from zatotx.schema.snapshot import Actor, ChangeSet, Operation, Snapshot


def _no_op() -> None:
    """Do nothing."""


@frozen
class PreparedConfigChange:
    """A new configuration of one component that has been built but is not active yet. The node calls either `commit` or
    `discard` once.

    `commit` activates it synchronously: the node commits all components without waiting in between, so that no request
    sees a mixture of old and new configuration. If it returns a Deferred, the change is reported as active when that
    fires. `discard` drops the new configuration because another component could not be prepared.
    """

    commit: Callable[[], Deferred[None] | None] = _no_op
    discard: Callable[[], None] = _no_op


Prepare = Callable[[Snapshot], Awaitable[PreparedConfigChange]]


class OutdatedSnapshot(Exception):  # noqa: N818 - a state, not an error
    """Raised while a snapshot is being prepared if dependent data already belongs to a later revision."""


def prepare_without_build(apply: Callable[[Snapshot], Deferred[None] | None]) -> Prepare:
    """Convert an `apply` function to a prepare function, for a component that does not need to build anything.
    Committing the prepared configuration calls `apply`."""
    return lambda snapshot: succeed(PreparedConfigChange(partial(apply, snapshot)))


def commit_when_prepared(preparing: Deferred[PreparedConfigChange]) -> Deferred[None]:
    """Commit the configuration of one component as soon as it is prepared, independently of other components."""
    return preparing.addCallback(lambda prepared: prepared.commit())


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row in the ODB that describes a server of the cluster, or one of its workers."""

    id: int
    name: str
    host: str = ''
    bind_host: str = ''
    bind_port: int = 0
    up_status: str = ''  # 'running', 'clean-down' (Zato's)
    seen_at: float = 0.0  # unix time of its last heartbeat
    applied_revision: int = 0
    pid: int = 0
    last_join_status: str = 'accepted'
    worker: int = 0  # number of the worker process; each has its own row
    version: str = ''  # of zatotx
    cpu: float = 0.0  # share of a core that it used between its last two heartbeats
    in_flight: int = 0  # requests that it was processing at its last heartbeat


class NodeLoad(msgspec.Struct, frozen=True, kw_only=True):
    """The load of a process: its CPU usage and the number of requests in progress, as in NodeRow."""

    cpu: float = 0.0
    in_flight: int = 0


NO_LOAD = NodeLoad()


class FileVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One stored version of a deployed file or package."""

    id: int
    file: str  # 'crm.py', or 'crm' for a package
    number: int  # 1, 2, 3 … per file
    form: str  # 'module' or 'package' (content = zip)
    sha256: str
    created: float  # unix time
    by: str
    active: bool
    services: tuple[str, ...] = ()  # names of the services found in it
    revision: int = 0  # the cluster revision that activated it


class HistoryRow(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the history, which describes a change of an object or a deployment."""

    revision: int  # the cluster revision that the change created
    at: float  # unix time
    who: str
    source: str  # where the change came from: the name of a channel, or a command
    action: str  # 'create', 'edit', 'delete', 'deploy', 'activate'
    type: str  # of the object, or 'file'
    name: str
    old: dict[str, object]  # secrets masked; edits list changed fields only
    new: dict[str, object]
    address: str = ''  # of the caller
    cid: str = ''


class IConfigStore(Interface):
    """Stores the configuration in the ODB. Every method returns a Deferred that fails with ServiceUnavailable or
    Timeout if the database is unavailable. The methods never block the reactor."""

    def revision() -> Deferred[int]:
        """Return the cluster's current revision. Every write increments it in the same transaction."""

    def changes(since: int) -> Deferred[ChangeSet]:
        """Return the changes made after a revision; `changes(0)` returns everything."""

    def write(operations: Sequence[Operation], actor: Actor) -> Deferred[int]:
        """Execute all operations in one transaction and return the new revision. Raises Conflict (409) if a name is
        taken, an object is still referred to, or an object was changed after its editor read it; NotFound for an
        unknown id."""

    def history(limit: int = 100, **filters: Any) -> Deferred[list[HistoryRow]]:
        """Return changes, newest first. Filters: type, name (current or former), since (a revision), revision. With
        has_values=False, the changes have no old and new values."""

    def record_event(action: str, type: str, name: str, actor: Actor) -> Deferred[None]:
        """Write an event that changes no object, such as a login, to the history at the current revision."""

    def snapshot_at(revision: int) -> Deferred[Snapshot]:
        """Return all objects as of a revision. Raises NotFound naming the revisions that are available."""

    def add_version(
        file: str, form: str, content: bytes, services: Sequence[str], actor: Actor
    ) -> Deferred[FileVersion]:
        """Store a version and activate it in one transaction that increments the revision and updates the service rows.
        Keeps 20 versions per file. If the content equals the active version's, returns that version instead. Raises
        Conflict if another file already provides one of the services."""

    def activate_version(file: str, number: int | None, actor: Actor) -> Deferred[FileVersion]:
        """Roll back to version `number`, or to the one before the active version. Raises NotFound naming the versions
        available."""

    def versions(file: str | None = None) -> Deferred[list[FileVersion]]:
        """Return all stored versions, by file and number."""

    def version_content(version_id: int) -> Deferred[bytes]:
        """Return the stored content. Raises NotFound."""

    def version_contents(version_ids: Sequence[int]) -> Deferred[Mapping[int, bytes]]:
        """Return the stored contents of several versions by id, read by one query; versions that are not stored are
        omitted."""

    def register_node(name: str, host: str, port: int, pid: int, worker: int = 0) -> Deferred[NodeRow]:
        """Register this node as running. `worker`: number of the worker process; each has its own row and heartbeat."""

    def record_heartbeat(
        node_id: int, applied_revision: int, version_results: dict[int, str], load: NodeLoad = NO_LOAD
    ) -> Deferred[int]:
        """Store a heartbeat and the node's state. `version_results`: version id -> '' (running) or the error. Does not
        change the cluster's revision, but returns it, which saves a round trip."""

    def mark_node_stopped(node_id: int) -> Deferred[None]:
        """Record a clean shutdown."""

    def rename_node(name: str, new_name: str) -> Deferred[None]:
        """Give a server with all its workers another name. Raises Conflict if there is one of that name, NotFound."""

    def remove_node(node_id: int) -> Deferred[None]:
        """Remove a server. Raises Conflict if it is running, NotFound for an unknown id."""

    def nodes() -> Deferred[list[NodeRow]]:
        """Return the servers of the cluster, one row per worker, by name and worker."""

    def version_results(version_id: int) -> Deferred[dict[str, str]]:
        """Return for each server '' if all its workers run the version, else the first worker's error. Omits servers
        with a running worker that has not reported yet."""

    def next_epoch(name: str) -> Deferred[int]:
        """Return the next number of a sequence in one transaction: 1, 2, 3 …, unique in the cluster and increasing,
        even if Redis loses its data."""

    def close() -> Deferred[None]:
        """Wait for pending operations, then close connections and threads."""


class IConfig(Interface):
    """The active configuration of a node."""

    snapshot: Snapshot = Attribute('The snapshot that is active on this node')

    def change(operations: Sequence[Operation], actor: Actor) -> Deferred[int]:
        """Write operations, apply them on this node and announce them to the other nodes. Fires with the revision."""

    def wait_until_applied(revision: int, timeout: float = 10.0) -> Deferred[list[str]]:
        """Wait until every live node has applied the revision. Fires with the names of those that did not in time."""
