"""A node as its own internal services see it (`self.server`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from zatotx.interfaces.config import FileVersion
from zatotx.schema.snapshot import Actor


class DeployReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a deployment went, node by node."""

    version: FileVersion
    refused: dict[str, str] = {}  # node -> why
    missing: tuple[str, ...] = ()  # living nodes that gave no verdict in time


class IDeployer(Interface):
    """Brings code to every node."""

    def deploy(file: str, content: bytes, actor: Actor) -> Deferred[DeployReport]:
        """Check on this node, store, announce, swap in, wait for every living node's verdict. `file` is 'x.py', or
        'x.zip' for a package x. Fails with BadRequest naming file and line where the code is bad (nothing is stored
        then), Conflict where a service belongs to another file."""

    def rollback(name: str, number: int | None, actor: Actor) -> Deferred[DeployReport]:
        """Bring back version `number` (None: the one before) of the file called `name`, or that holds the service of
        that name."""


class ILevels(Interface):
    """The levels of the logs, for as long as nodes run."""

    def shown() -> Mapping[str, str]:
        """Those in force here, by area or logger; '' is that of all others."""

    def set(name: str, level: str) -> Deferred[bool]:
        """Here at once, and on every other node: False where they could not be told. Raises ValueError for a level that
        does not exist. `level` '' = none of its own any more."""


class INode(Interface):
    """What zato.* services may use."""

    name: str = Attribute('server1')
    cluster: str = Attribute('The cluster of this node')
    config = Attribute('IConfig')
    odb = Attribute('IConfigStore')
    services = Attribute('IServiceStore')
    deployer = Attribute('IDeployer')
    types = Attribute('zatotx.schema.type_registry.ObjectTypes')
    levels = Attribute('ILevels')
    user_metrics = Attribute('zatotx.interfaces.meters.IUserMetrics')
    outgoing = Attribute('zatotx.interfaces.outgoing.IOutgoing')

    def not_ready() -> list[str]:
        """Why the node does not take requests now, a sentence each; [] when it does."""

    def findings() -> list[str]:
        """What is not as it should be on this node now, a sentence each with what to do about it; [] = all is well.
        Cheap: called on the reactor."""

    def all_findings() -> Deferred[list[str]]:
        """Those of all workers of this server."""

    def info() -> Mapping[str, Any]:
        """Facts for zato.info.*: name, cluster, version, kinds, python, pid, started, revision …"""

    def metrics() -> Deferred[bytes]:
        """The Prometheus text."""

    def offload(function: Any, *args: Any) -> Deferred[Any]:
        """Run a plain function in the node's worker threads."""
