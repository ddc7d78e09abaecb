"""Interface of the node that the zato.* services use as `self.server`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from zatotx.interfaces.admin_sessions import IAdminSessions
from zatotx.interfaces.call_samples import ICallSampleStore
from zatotx.interfaces.config import FileVersion, IConfig, IConfigStore
from zatotx.interfaces.dead_letters import IDeadLetterStore
from zatotx.interfaces.meters import IUserMetrics
from zatotx.interfaces.node_control import INodeControl
from zatotx.interfaces.outgoing import IOutgoingConnections
from zatotx.interfaces.scheduler import IScheduler
from zatotx.interfaces.service_redis import IServiceRedis
from zatotx.interfaces.services import IServiceMapHolder
from zatotx.interfaces.statistics import IUsageStore
from zatotx.interfaces.work_stream import IResultGroups, IWorkStream
from zatotx.schema.snapshot import Actor
from zatotx.schema.type_registry import ObjectTypeRegistry


class DeploymentReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a deployment on each node."""

    version: FileVersion
    refused: dict[str, str] = {}  # node -> error
    missing: tuple[str, ...] = ()  # live nodes that did not report in time


class IDeployer(Interface):
    """Deploys code to all nodes."""

    def deploy(file: str, content: bytes, actor: Actor) -> Deferred[DeploymentReport]:
        """Check the code on this node, store, announce and activate it, and wait for the result of every live node.
        `file` is 'x.py', or 'x.zip' for a package x. Fails with BadRequest naming file and line if the code is invalid
        (nothing is stored), with Conflict if another file already provides a service."""

    def rollback(name: str, number: int | None, actor: Actor) -> Deferred[DeploymentReport]:
        """Reactivate version `number` (None: the previous one) of the file called `name`, or of the file that contains
        the service `name`."""


class ILogLevels(Interface):
    """Reads and changes log levels while the node runs. Changes are lost when the node restarts."""

    def effective() -> Mapping[str, str]:
        """Return the effective levels of this node by area or logger; '' is the default level."""

    def set_level(name: str, level: str) -> Deferred[bool]:
        """Set a level on this node and announce it to the others. The Deferred fires with False if that failed. `level`
        '' removes the level of that logger. Raises ValueError for an unknown level."""


class INode(Interface):
    """The part of a node that zato.* services may use."""

    name: str = Attribute('Name of the server, e.g. server1')
    cluster: str = Attribute('Name of the cluster')
    config: IConfig = Attribute('The configuration in force')
    odb: IConfigStore = Attribute('Reads and changes the stored configuration')
    services: IServiceMapHolder = Attribute('The deployed services')
    deployer: IDeployer = Attribute('Deploys code to all nodes')
    types: ObjectTypeRegistry = Attribute('The types of configuration objects')
    log_levels: ILogLevels = Attribute('Reads and changes log levels')
    user_metrics: IUserMetrics = Attribute('The metrics that services define')
    outgoing: IOutgoingConnections = Attribute('The outgoing connections')
    service_redis: IServiceRedis = Attribute('Redis for services')
    work: IWorkStream = Attribute('Queues asynchronous invocations')
    admin_sessions: IAdminSessions = Attribute('The sessions of the web admin')
    scheduler: IScheduler = Attribute('Runs jobs, and keeps their history')
    usage: IUsageStore = Attribute('The usage statistics of services')
    call_samples: ICallSampleStore = Attribute('Recorded calls of services')
    result_groups: IResultGroups = Attribute('The results of parallel invocations')
    control: INodeControl = Attribute('Restarts, drains and renames nodes')
    dead_letters: IDeadLetterStore = Attribute('Messages that could not be processed')

    def readiness_problems() -> list[str]:
        """Return the reasons why the node does not accept requests, one sentence each; [] if it is ready."""

    def findings() -> list[str]:
        """Return the problems of this node, one sentence each including what to do; [] if there are none. Cheap enough
        to run on the reactor."""

    def all_findings() -> Deferred[list[str]]:
        """Return the findings of all workers of this server."""

    def info() -> Mapping[str, Any]:
        """Return the data of zato.info.*: name, cluster, version, kinds, python, pid, started, revision …"""

    def metrics() -> Deferred[bytes]:
        """Return the metrics in the Prometheus text format."""

    def metric_sample() -> Deferred[dict[str, list[Any]]]:
        """Return the metrics of all workers as values: see zatotx.metrics.snapshot."""

    def run_in_thread(function: Any, *args: Any) -> Deferred[Any]:
        """Run a blocking function in the node's thread pool."""
