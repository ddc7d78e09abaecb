"""SQLAlchemy URLs of the ODB: made absolute, and shown without their password."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError


def parsed(url: str) -> URL:
    """The URL in parts. Raises ValueError, with what is wrong, for one this version cannot use."""
    try:
        found = make_url(url)
    except ArgumentError as error:
        raise ValueError(
            'The URL of the ODB is not of the form sqlite:///relative/path or sqlite:////absolute/path'
        ) from error
    if found.get_backend_name() != 'sqlite':
        raise ValueError(
            f'The ODB cannot be a {found.get_backend_name()} database in this version: use sqlite:////absolute/path'
        )
    if not found.database or found.database == ':memory:':
        raise ValueError('The URL of the ODB names no file: use sqlite:////absolute/path')
    return found


def resolve(url: str, directory: str) -> str:
    """The URL with the path of an SQLite file made absolute, from this directory. Raises ValueError as `parsed`."""
    found = parsed(url)
    assert found.database is not None
    absolute = Path(directory, found.database).resolve()
    return found.set(database=str(absolute)).render_as_string(hide_password=False)


def masked(url: str) -> str:
    """The URL as it may be shown."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return '(a URL that cannot be read)'
