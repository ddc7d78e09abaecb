"""SQLAlchemy URLs of the ODB: made absolute, and shown without their password."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

FORMS = (
    'sqlite:////absolute/path, postgresql+psycopg://user:password@host:port/database or '
    'mysql+pymysql://user:password@host:port/database'
)

# What is written -> what is used. One driver a database: each is tested.
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


def parse_url(url: str) -> URL:
    """The URL in parts. Raises ValueError, with what is wrong, for one this version cannot use."""
    if _ambiguous(url):
        raise ValueError('The URL of the ODB has an @ or / in its user or password: write @ as %40 and / as %2F')
    try:
        found = make_url(url)
        driver = _DRIVERS.get(found.drivername)
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        raise ValueError(f'The URL of the ODB is not of the form {FORMS}') from error
    if driver is None:
        raise ValueError(f'The ODB cannot be reached by {found.drivername!r}: use {FORMS}')
    if driver == 'sqlite' and (not found.database or found.database == ':memory:'):
        raise ValueError('The URL of the ODB names no file: use sqlite:////absolute/path')
    if not found.database:
        raise ValueError(f'The URL of the ODB names no database: use {FORMS}')
    return found.set(drivername=driver)


def file_of(url: str) -> str | None:
    """The path of an SQLite file; None where the ODB is on a server. Raises ValueError as `parsed`."""
    found = parse_url(url)
    return found.database if found.drivername == 'sqlite' else None


def resolve(url: str, directory: str) -> str:
    """The URL with the path of an SQLite file made absolute, from this directory. Raises ValueError as `parsed`."""
    path = file_of(url)
    if path is None:
        return url
    absolute = Path(directory, path).resolve()
    return parse_url(url).set(database=str(absolute)).render_as_string(hide_password=False)


def mask_password(url: str) -> str:
    """The URL as it may be shown: a password in its query is one too."""
    if _ambiguous(url):
        return '(a URL that cannot be read)'
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        return '(a URL that cannot be read)'
    hidden = {name: '***' if 'password' in name else value for name, value in found.query.items()}
    return found.set(query=hidden).render_as_string(hide_password=True)


def _ambiguous(url: str) -> bool:
    """Whether a password may end in what is read as host or database, and be shown as such."""
    scheme, _, rest = url.partition('://')
    authority, _, path = rest.partition('?')[0].partition('/')
    return not scheme.startswith('sqlite') and (authority.count('@') > 1 or '@' in path)
