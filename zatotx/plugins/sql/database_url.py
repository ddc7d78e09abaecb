"""Parses database URLs in SQLAlchemy's format, and builds them from Zato's separate fields. Pure: imports no driver."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote

from attrs import field, frozen

# Accepted names of engines and drivers -> SQLAlchemy's name of the driver that is used: one driver per database.
DRIVERS: Mapping[str, str] = {
    'sqlite': 'sqlite+pysqlite',
    'sqlite+pysqlite': 'sqlite+pysqlite',
    'postgresql': 'postgresql+psycopg',
    'postgres': 'postgresql+psycopg',
    'postgresql+psycopg': 'postgresql+psycopg',
    'postgresql+psycopg2': 'postgresql+psycopg',
    'postgresql+pg8000': 'postgresql+psycopg',
    'mysql': 'mysql+pymysql',
    'mysql+pymysql': 'mysql+pymysql',
    'mariadb': 'mysql+pymysql',
    'mariadb+pymysql': 'mysql+pymysql',
    'zato+mysql1': 'mysql+pymysql',
    'oracle': 'oracle+oracledb',
    'oracle+oracledb': 'oracle+oracledb',
    'oracle+cx_oracle': 'oracle+oracledb',
    'mssql': 'mssql+pymssql',
    'mssql+pymssql': 'mssql+pymssql',
    'mssql+pyodbc': 'mssql+pyodbc',
    'zato+mssql1': 'mssql+pymssql',
}
FORMS = 'postgresql://user@host:5432/database, mysql://user@host:3306/database or sqlite:////absolute/path'


class InvalidDatabaseUrl(ValueError):  # noqa: N818 - a value that configuration has
    """The database URL is invalid. The message is a verb phrase whose subject is the URL, and never contains the URL
    itself."""


@frozen(kw_only=True)
class DatabaseUrl:
    """The parts of a database URL: the location of the database, and the account."""

    driver: str  # SQLAlchemy's: 'postgresql+psycopg'
    username: str = ''
    password: str = field(default='', repr=False)
    host: str = ''
    port: int | None = None
    database: str = ''
    query: Mapping[str, str] = field(factory=dict)  # options of the driver

    @property
    def backend(self) -> str:
        """The database: 'postgresql', 'mysql', 'sqlite' …"""
        return self.driver.partition('+')[0]


def parse_database_url(url: str) -> DatabaseUrl:
    """Parse a database URL. Raises InvalidDatabaseUrl."""
    scheme, separator, rest = url.partition('://')
    if not separator:
        raise InvalidDatabaseUrl(f'must be of the form {FORMS}')
    location, _, query = rest.partition('?')
    authority, _, database = location.partition('/')
    if scheme.startswith('sqlite'):
        return _checked(DatabaseUrl(driver=scheme, database=unquote(database), query=dict(parse_qsl(query))))
    userinfo, _, address = authority.rpartition('@')
    if '@' in userinfo or '@' in database:
        raise InvalidDatabaseUrl('has an @ or / in its user or password: write @ as %40 and / as %2F')
    username, _, password = userinfo.partition(':')
    host, port = _parse_address(address)
    return _checked(DatabaseUrl(
        driver=scheme, username=unquote(username), password=unquote(password), host=host, port=port,
        database=unquote(database), query=dict(parse_qsl(query)),
    ))  # fmt: skip


def split_password(url: str) -> tuple[str, str]:
    """Return the URL without its password, and the password. An invalid URL is returned unchanged."""
    try:
        password = parse_database_url(url).password
    except InvalidDatabaseUrl:
        return url, ''
    if not password:
        return url, ''
    scheme, _, rest = url.partition('://')
    userinfo, _, remaining = rest.partition('@')
    return f'{scheme}://{userinfo.partition(":")[0]}@{remaining}', password


def from_parts(engine: str, *, host: str, port: int | None, database: str, username: str) -> DatabaseUrl:
    """Build a database URL from Zato's separate connection fields. Raises InvalidDatabaseUrl."""
    return _checked(DatabaseUrl(driver=engine, host=host, port=port, database=database, username=username))


def _checked(url: DatabaseUrl) -> DatabaseUrl:
    """Return the URL with SQLAlchemy's name of its driver."""
    driver = DRIVERS.get(url.driver.lower())
    if driver is None:
        known = ', '.join(name for name in DRIVERS if '+' not in name)
        raise InvalidDatabaseUrl(f'names an unknown database or driver {url.driver!r}: there are {known}')
    if driver.startswith('sqlite') and url.database in ('', ':memory:'):
        raise InvalidDatabaseUrl('does not name a file: use sqlite:////absolute/path')
    if driver.startswith('sqlite') and not url.database.startswith('/'):
        raise InvalidDatabaseUrl('must have the absolute path of its file: sqlite:////absolute/path')
    if not driver.startswith('sqlite') and not url.host:
        raise InvalidDatabaseUrl(f'does not name a host: use {FORMS}')
    if not url.database:
        raise InvalidDatabaseUrl(f'does not name a database: use {FORMS}')
    return DatabaseUrl(driver=driver, username=url.username, password=url.password, host=url.host, port=url.port,
                       database=url.database, query=url.query)  # fmt: skip


def _parse_address(address: str) -> tuple[str, int | None]:
    if address.startswith('['):
        host, _, port = address[1:].partition(']')
        port = port.removeprefix(':')
    else:
        host, _, port = address.partition(':')
    if not port:
        return host, None
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise InvalidDatabaseUrl('has a port that is not a number from 1 to 65535')
    return host, int(port)
