"""What the HTTP kind counts: plain slots, raised on the hot path, read whenever metrics are asked for."""

from __future__ import annotations


class HttpCounters:
    """Counts since the start of the node, but for `open` and `paused`, which are now.

    `answers[n]` counts answers of status nxx; `refused` counts messages that broke the protocol or a limit, which
    are in `answers` too; `gone` counts clients that went away before their answer was out; `pauses` counts how often no
    more connections were accepted, `paused` is 1 while it is so; `connections_refused` counts connections that were cut
    because their address had too many; `bad_forwarded` counts requests of which a trusted proxy said something that was
    not taken.
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
