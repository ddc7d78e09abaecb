"""Counters of the HTTP kind: plain attributes, incremented on the hot path, read when metrics are collected."""

from __future__ import annotations


class HttpCounters:
    """Counts since the start of the node, except `open` and `paused`, which are current values.

    `answers[n]` counts responses of status nxx; `refused` counts messages that violated the protocol or a limit, which
    `answers` includes; `gone` counts clients that disconnected before their response was complete; `pauses` counts how
    often accepting was paused, `paused` is 1 while it is; `connections_refused` counts connections that were aborted
    because their address had too many; `bad_forwarded` counts requests whose forwarding fields, set by a trusted proxy,
    were invalid.
    """

    __slots__ = ('accepted', 'answers', 'bad_forwarded', 'connections_refused', 'gone', 'open', 'paused', 'pauses',
                 'refused', 'requests')  # fmt: skip

    def __init__(self) -> None:
        self.accepted = 0
        self.open = 0
        self.requests = 0
        self.refused = 0
        self.gone = 0
        self.answers = [0] * 6
        self.pauses = 0
        self.paused = 0
        self.connections_refused = 0
        self.bad_forwarded = 0
