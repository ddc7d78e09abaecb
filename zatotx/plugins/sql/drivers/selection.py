"""Selects the driver for a database URL, without importing the driver."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from zatotx.plugins.sql.database_url import DatabaseUrl
from zatotx.plugins.sql.drivers.base import DatabaseDriver
from zatotx.plugins.sql.drivers.mysql import MySQLDriver
from zatotx.plugins.sql.drivers.postgresql import PostgreSQLDriver
from zatotx.plugins.sql.drivers.sqlite import SQLiteDriver


class OracleDriver(DatabaseDriver):
    """The driver for Oracle Database. The database is configured by a URL."""

    title = 'Oracle Database'
    module = 'oracledb'
    install = 'pip install oracledb'
    ping_statement = 'SELECT 1 FROM dual'

    def cancel(self, dbapi: object) -> None:
        """See DatabaseDriver."""
        dbapi.cancel()  # type: ignore[attr-defined]  # python-oracledb's Connection.cancel


class SQLServerDriver(DatabaseDriver):
    """The driver for Microsoft SQL Server, based on pymssql. The database is configured by a URL."""

    title = 'Microsoft SQL Server'
    module = 'pymssql'
    install = 'pip install pymssql'


    def call_statement(self, procedure: str, names: Sequence[str]) -> str:
        """See DatabaseDriver."""
        return f'EXEC {procedure} {", ".join(f"@{name} = :{name}" for name in names)}'.rstrip()


class SQLServerOdbcDriver(SQLServerDriver):
    """The driver for Microsoft SQL Server, based on pyodbc. The database is configured by a URL."""

    module = 'pyodbc'
    install = 'pip install pyodbc'


_DRIVERS: dict[str, type[DatabaseDriver]] = {
    'sqlite+pysqlite': SQLiteDriver,
    'postgresql+psycopg': PostgreSQLDriver,
    'mysql+pymysql': MySQLDriver,
    'oracle+oracledb': OracleDriver,
    'mssql+pymssql': SQLServerDriver,
    'mssql+pyodbc': SQLServerOdbcDriver,
}


def select_driver(url: DatabaseUrl) -> DatabaseDriver:
    """Return the driver for a database URL. Raises ValueError if a library is missing; the message says which library
    to install."""
    driver = _DRIVERS[url.driver]()
    if find_spec(driver.module) is None:
        raise ValueError(f'{driver.title} needs the library {driver.module}: {driver.install}')
    return driver
