"""Logs the reasons why peers cannot connect, once per change."""

from __future__ import annotations

from zatotx.connectors.failure_log import FailureLog
from zatotx.plugins.zmq.peer_state import PeerState


def log_peers(log: FailureLog, peers: PeerState) -> None:
    """Log a change of the peers of a socket."""
    if peers.failure:
        if peers.failure != log.cause:
            log.failed(peers.failure)
    elif log.cause:
        log.recovered()
