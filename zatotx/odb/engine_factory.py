"""Creates SQLAlchemy engines for the URL of an ODB."""

from __future__ import annotations

import logging
from functools import partial
from importlib import import_module
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from zatotx.model.errors import ServiceUnavailable
from zatotx.odb.engines import mysql, postgresql, sqlite
from zatotx.odb.engines.dialect import Dialect, Purpose
from zatotx.odb.odb_urls import parse_odb_url
from zatotx.wire.url_masking import mask_url

_DIALECTS = {'sqlite': sqlite.DIALECT, 'postgresql': postgresql.DIALECT, 'mysql': mysql.DIALECT}

# Errors of connections are raised, and logged once by the caller. The pool would log tracebacks.
logging.getLogger('sqlalchemy.pool').setLevel(logging.CRITICAL)


def dialect_of(url: str) -> Dialect:
    """Return the database dialect of a URL. Raises ValueError for an unusable URL."""
    return _DIALECTS[parse_odb_url(url).get_backend_name()]


def make_engine(url: str, purpose: Purpose = 'read') -> Engine:
    """Create an SQLAlchemy engine for an existing database, without connecting. Raises ValueError for an unusable URL
    or if the driver is missing."""
    dialect = dialect_of(url)
    try:
        import_module(dialect.driver)
    except ImportError as error:
        raise ValueError(
            f'The ODB is {dialect.title}, whose driver {dialect.driver} cannot be imported: '
            f"pip install 'zatotx[{dialect.extra}]'"
        ) from error
    parsed = parse_odb_url(url)
    try:
        engine = dialect.make_engine(parsed, purpose)
    except (TypeError, ValueError) as error:
        raise ValueError(f'The ODB ({mask_url(url)}) cannot be reached by this URL: {error}') from error
    event.listen(engine, 'do_connect', partial(_connect, url))
    return engine


def _connect(url: str, dialect: Any, _: Any, args: Any, options: Any) -> Any:
    """Connect, and report an option that the driver does not accept, or a missing file that it names, as an error of
    the URL."""
    try:
        return dialect.connect(*args, **options)
    except (TypeError, ValueError, OSError, dialect.loaded_dbapi.ProgrammingError) as error:
        details = ' '.join(str(error).split())
        raise ServiceUnavailable(
            None, f'The ODB ({mask_url(url)}) cannot be reached: {details}; check the options of its URL'
        ) from error


# Conversion of SQLAlchemy's and the drivers' exceptions to errors of the data model, which name the ODB but never its
# password.

def map_database_error(error: Exception, url: str) -> Exception:
    """Convert an exception to ServiceUnavailable if the database is unreachable, locked, full, read-only or not a
    database; otherwise return it unchanged."""
    if isinstance(error, PoolTimeout):
        return ServiceUnavailable(None, f'The ODB ({mask_url(url)}) has no free connection now')
    if _is_lost(error) or dialect_of(url).is_unavailable(error):
        return ServiceUnavailable(
            None, f'The ODB ({mask_url(url)}) cannot be used now: {driver_message(error, url)}'
        )
    return error


def driver_message(error: Exception, url: str) -> str:
    """Return the error message of the database driver, without SQLAlchemy's statement and parameters."""
    origin = getattr(error, 'orig', None) or error
    return dialect_of(url).error_message(origin) or type(origin).__name__


def _is_lost(error: Exception) -> bool:
    return isinstance(error, DisconnectionError) or (isinstance(error, DBAPIError) and error.connection_invalidated)
