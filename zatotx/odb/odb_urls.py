"""Parses the SQLAlchemy URLs of ODBs, and makes the file paths in them absolute."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

URL_FORMS = (
    'sqlite:////absolute/path, postgresql+psycopg://user:password@host:port/database or '
    'mysql+pymysql://user:password@host:port/database'
)

# Accepted drivers -> the driver used: one tested driver per database.
_DRIVERS = {
    'sqlite': 'sqlite',
    'sqlite+pysqlite': 'sqlite',
    'postgresql': 'postgresql+psycopg',
    'postgresql+psycopg': 'postgresql+psycopg',
    'mysql': 'mysql+pymysql',
    'mysql+pymysql': 'mysql+pymysql',
    'mariadb': 'mysql+pymysql',
    'mariadb+pymysql': 'mysql+pymysql',
}


def parse_odb_url(url: str) -> URL:
    """Parse the URL of an ODB. Raises ValueError, with the reason, if this version cannot use the URL."""
    if _is_ambiguous(url):
        raise ValueError('The URL of the ODB has an @ or / in its user or password: write @ as %40 and / as %2F')
    try:
        parsed = make_url(url)
        driver = _DRIVERS.get(parsed.drivername)
    except (ArgumentError, ValueError) as error:  # make_url raises ValueError for a port that is not a number
        raise ValueError(f'The URL of the ODB is not of the form {URL_FORMS}') from error
    if driver is None:
        raise ValueError(f'The ODB cannot be reached by {parsed.drivername!r}: use {URL_FORMS}')
    if driver == 'sqlite' and (not parsed.database or parsed.database == ':memory:'):
        raise ValueError('The URL of the ODB does not name a file: use sqlite:////absolute/path')
    if not parsed.database:
        raise ValueError(f'The URL of the ODB does not name a database: use {URL_FORMS}')
    return parsed.set(drivername=driver)


def sqlite_path(url: str) -> str | None:
    """Return the path of an SQLite file, or None for a database server. Raises ValueError like `parse_odb_url`."""
    parsed = parse_odb_url(url)
    return parsed.database if parsed.drivername == 'sqlite' else None


def make_url_absolute(url: str, directory: str) -> str:
    """Return the URL with the path of an SQLite file made absolute. Raises ValueError like `parse_odb_url`."""
    path = sqlite_path(url)
    if path is None:
        return url
    absolute = Path(directory, path).resolve()
    return parse_odb_url(url).set(database=str(absolute)).render_as_string(hide_password=False)


def _is_ambiguous(url: str) -> bool:
    """Return whether a password may be parsed as part of the host or database, and be shown as such."""
    scheme, _, rest = url.partition('://')
    authority, _, path = rest.partition('?')[0].partition('/')
    return not scheme.startswith('sqlite') and (authority.count('@') > 1 or '@' in path)
