"""Column types and table options that behave the same on every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Double, Float, LargeBinary, Text

_MYSQL = ('mysql', 'mariadb')


# The types of MySQL by their names: its dialect takes 0.6 MB, and is loaded only where the ODB is there.
class _LongText(Text):
    __visit_name__ = 'LONGTEXT'


class _LongBlob(LargeBinary):
    __visit_name__ = 'LONGBLOB'


LONG_TEXT = Text().with_variant(_LongText(), *_MYSQL)  # MySQL's TEXT holds only 64 KiB
TIMESTAMP: Float[float] = Float(53).with_variant(Double(), *_MYSQL)  # Unix time
BLOB = LargeBinary().with_variant(_LongBlob(), *_MYSQL)

# Full Unicode, comparison by code points, transactions and foreign keys, independent of the database's defaults.
TABLE_OPTIONS: dict[str, Any] = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_bin',
}
