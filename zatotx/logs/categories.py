"""Log categories: which loggers write to which file in logs/, with Zato's names (its logging.conf)."""

from __future__ import annotations

from attrs import frozen


@frozen
class LogCategory:
    """A log file and the loggers whose entries, and those of loggers below them, are written to it."""

    name: str
    file: str
    loggers: tuple[str, ...]
    description: str  # for users


SERVER = LogCategory('server', 'server.log', (), 'everything of no other category, and all warnings and errors')
KVDB = LogCategory('kvdb', 'kvdb.log', ('zatotx.redis', 'txredisapi'), 'the connection to Redis')
ADMIN = LogCategory('admin', 'admin.log', ('zato',), 'the zato.* services')
ACCESS = LogCategory('http_access', 'http_access.log', (), 'one line per request')

SEPARATE_CATEGORIES = (KVDB, ADMIN)  # separate from server.log
ALL_CATEGORIES = (SERVER, ACCESS, *SEPARATE_CATEGORIES)


def category_of(logger: str) -> LogCategory:
    """Return the category of a logger by its dotted name."""
    for category in SEPARATE_CATEGORIES:
        for prefix in category.loggers:
            if logger == prefix or logger.startswith(f'{prefix}.'):
                return category
    return SERVER
