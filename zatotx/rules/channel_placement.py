"""Decides which nodes run the channels of a kind, which processes of a cluster run a channel, and which lock prevents a
second process from running the same channel.

==========================  ==========================  =======================
placement                   candidates                  exclusive lock
==========================  ==========================  =======================
EVERY_WORKER                all workers of all nodes    none
ONE_WORKER_PER_NODE         all workers of all nodes    one per node
EVERY_NODE                  all workers of all nodes    one per node
ONE_NODE_OF_CLUSTER         all workers of all nodes    one per cluster
NAMED_NODES                 workers of the named nodes  one per node
==========================  ==========================  =======================

ONE_WORKER_PER_NODE is for channels that listen: each node has clients of its own. EVERY_NODE is for channels that
fetch: the nodes compete for the messages of the peer, which gives each message to one of them.

A channel whose configuration names nodes runs on these nodes only, whatever its placement is.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum

from attrs import frozen

SERVER, CONNECTOR = 'server', 'connector'  # types of nodes


class Placement(Enum):
    """The placement of a channel: in every worker, in one worker of each node, on every node, on one node of the
    cluster, or on named nodes."""

    EVERY_WORKER = 'every_worker'
    ONE_WORKER_PER_NODE = 'one_worker_per_node'
    EVERY_NODE = 'every_node'
    ONE_NODE_OF_CLUSTER = 'one_node_of_cluster'
    NAMED_NODES = 'named_nodes'


class LockScope(Enum):
    """The scope of a lock: the processes among which only one runs the channel."""

    NONE = 'none'
    NODE = 'node'
    CLUSTER = 'cluster'


@frozen
class PlacementDecision:
    """The decision whether a process may run a channel, and the lock that the process must hold while it runs the
    channel."""

    is_candidate: bool
    lock: LockScope = LockScope.NONE


_LOCKS = {
    Placement.EVERY_WORKER: LockScope.NONE,
    Placement.ONE_WORKER_PER_NODE: LockScope.NODE,
    Placement.EVERY_NODE: LockScope.NODE,
    Placement.ONE_NODE_OF_CLUSTER: LockScope.CLUSTER,
    Placement.NAMED_NODES: LockScope.NODE,
}


def runs_channels(kind: str, runs_in: str, node_type: str, selected_kinds: Collection[str] | None) -> bool:
    """Return whether nodes of `node_type` run the channels of a kind. `runs_in` is the node type that the kind
    declares, and `selected_kinds` the connector kinds in the node's settings, or None for the default."""
    if runs_in != CONNECTOR:
        return node_type == runs_in
    return node_type == CONNECTOR if selected_kinds is None else kind in selected_kinds


def decide_placement(placement: Placement, node: str, named_nodes: Collection[str] = ()) -> PlacementDecision:
    """Return the placement decision for a process of `node`. `named_nodes` are the names of the nodes that are listed
    in the channel's configuration."""
    if node not in named_nodes and (named_nodes or placement is Placement.NAMED_NODES):
        return PlacementDecision(is_candidate=False)
    return PlacementDecision(is_candidate=True, lock=_LOCKS[placement])
