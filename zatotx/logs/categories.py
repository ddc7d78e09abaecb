"""Areas of the log: which loggers write into which file of logs/, in Zato's names (its logging.conf)."""

from __future__ import annotations

from attrs import frozen


@frozen
class Category:
    """What loggers of these names, and those below them, say goes into `file`."""

    name: str
    file: str
    loggers: tuple[str, ...]
    what: str  # for people


SERVER = Category('server', 'server.log', (), 'everything that no other area has, and every warning and error of all')
KVDB = Category('kvdb', 'kvdb.log', ('zatotx.redis', 'txredisapi'), 'the connection to Redis')
ADMIN = Category('admin', 'admin.log', ('zato',), 'what the zato.* services say')
ACCESS = Category('http_access', 'http_access.log', (), 'one line a request')

APART = (KVDB, ADMIN)  # from server.log
ALL = (SERVER, ACCESS, *APART)


def category_of(logger: str) -> Category:
    """The area of a logger, by its dotted name."""
    for area in APART:
        for prefix in area.loggers:
            if logger == prefix or logger.startswith(f'{prefix}.'):
                return area
    return SERVER
