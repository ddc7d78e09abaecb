"""Column types and table options that behave the same on every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Float, LargeBinary, Text
from sqlalchemy.dialects.mysql import DOUBLE, LONGBLOB, LONGTEXT

_MYSQL = ('mysql', 'mariadb')

LONG_TEXT = Text().with_variant(LONGTEXT(), *_MYSQL)  # MySQL's TEXT holds only 64 KiB
TIMESTAMP: Float[float] = Float(53).with_variant(DOUBLE(asdecimal=False), *_MYSQL)  # Unix time
BLOB = LargeBinary().with_variant(LONGBLOB(), *_MYSQL)

# Full Unicode, comparison by code points, transactions and foreign keys, independent of the database's defaults.
TABLE_OPTIONS: dict[str, Any] = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_bin',
}
