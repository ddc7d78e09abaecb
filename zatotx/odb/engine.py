"""Which room a URL leads to, and its engines."""

from __future__ import annotations

import logging
from functools import partial
from importlib import import_module
from typing import Any

from sqlalchemy import Engine, event

from zatotx.model.errors import ServiceUnavailable
from zatotx.odb.engines import mysql, postgresql, sqlite
from zatotx.odb.engines.dialect import Dialect, Purpose
from zatotx.odb.urls import mask_password, parse_url

_ROOMS = {'sqlite': sqlite.ROOM, 'postgresql': postgresql.ROOM, 'mysql': mysql.ROOM}

# What goes wrong with a connection is raised, and said once by who asked. The pool's own words would be tracebacks.
logging.getLogger('sqlalchemy.pool').setLevel(logging.CRITICAL)


def dialect_of(url: str) -> Dialect:
    """The database that a URL speaks of. Raises ValueError for a URL that cannot be used."""
    return _ROOMS[parse_url(url).get_backend_name()]


def make_engine(url: str, purpose: Purpose = 'read') -> Engine:
    """An engine over an existing database; nothing is connected to. Raises ValueError for a URL that cannot be used, or
    whose driver is missing."""
    room = dialect_of(url)
    try:
        import_module(room.driver)
    except ImportError as error:
        raise ValueError(
            f'The ODB is {room.title}, whose driver {room.driver} cannot be imported here: '
            f"pip install 'zatotx[{room.extra}]'"
        ) from error
    known = parse_url(url)
    try:
        engine = room.engine(known, purpose)
    except (TypeError, ValueError) as error:
        raise ValueError(f'The ODB ({mask_password(url)}) cannot be reached by this URL: {error}') from error
    event.listen(engine, 'do_connect', partial(_connect, url))
    return engine


def _connect(url: str, dialect: Any, _: Any, words: Any, options: Any) -> Any:
    """An option that the driver does not take, or a file that it names and is not there, is a mistake of the URL's."""
    try:
        return dialect.connect(*words, **options)
    except (TypeError, ValueError, OSError, dialect.loaded_dbapi.ProgrammingError) as error:
        why = ' '.join(str(error).split())
        raise ServiceUnavailable(
            None, f'The ODB ({mask_password(url)}) cannot be reached: {why}; look at the options of its URL'
        ) from error
