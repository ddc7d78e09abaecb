"""The one place that makes names in Redis: everything of a cluster is below `zatotx:<cluster>:`."""

from __future__ import annotations

from urllib.parse import quote

from attrs import field, frozen

ROOT = 'zatotx'


@frozen
class Keys:
    """Names of one cluster. Two clusters on one Redis never have one in common: what a cluster's name has of ':' and
    the like is percent-encoded."""

    cluster: str
    prefix: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, 'prefix', f'{ROOT}:{quote(self.cluster, safe="")}:')

    def key(self, kind: str, *names: str) -> str:
        """The key of something, e.g. `key('lease', 'scheduler')`. The last name may hold anything."""
        return ':'.join((self.prefix + kind, *names))

    def topic(self, topic: str) -> str:
        """The pub/sub channel of a topic of the bus."""
        return f'{self.prefix}topic:{topic}'

    def name(self, node: str) -> str:
        """What Redis shows a connection of that node as (CLIENT LIST), which takes no space or control character."""
        return self.prefix + quote(node, safe='')
