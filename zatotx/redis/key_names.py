"""The names of Redis keys and channels. The names of a cluster begin with `zatotx:<cluster>:`."""

from __future__ import annotations

from urllib.parse import quote

from attrs import field, frozen

from zatotx.rules.redis.command_table import CLUSTER_PREFIX


@frozen
class RedisKeys:
    """Creates the Redis key and channel names of one cluster. Clusters that share one Redis never share a name, because
    ':' and similar characters in the cluster's name are percent-encoded."""

    cluster: str
    prefix: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, 'prefix', f'{CLUSTER_PREFIX}{quote(self.cluster, safe="")}:')

    def key(self, kind: str, *names: str) -> str:
        """Return a key, e.g. `key('lease', 'scheduler')`. The last name may contain any characters."""
        return ':'.join((self.prefix + kind, *names))

    def channel(self, topic: str) -> str:
        """Return the pub/sub channel of a topic of announcements."""
        return f'{self.prefix}topic:{topic}'

    def connection_name(self, node: str) -> str:
        """Return the name of a node's connections in CLIENT LIST, which allows no spaces or control characters."""
        return self.prefix + quote(node, safe='')
