"""Conversion of SQLAlchemy's and the drivers' exceptions to errors of the data model, which name the ODB but never its
password.
"""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from zatotx.model.errors import ServiceUnavailable
from zatotx.odb.engine import dialect_of
from zatotx.odb.urls import mask_password


def map_error(error: Exception, url: str) -> Exception:
    """Return ServiceUnavailable if the database is unreachable, locked, full, read-only or not a database; otherwise
    the error itself."""
    if isinstance(error, PoolTimeout):
        return ServiceUnavailable(None, f'The ODB ({mask_password(url)}) has no free connection now')
    if _is_lost(error) or dialect_of(url).is_unavailable(error):
        return ServiceUnavailable(
            None, f'The ODB ({mask_password(url)}) cannot be used now: {driver_message(error, url)}'
        )
    return error


def driver_message(error: Exception, url: str) -> str:
    """Return the driver's message, without SQLAlchemy's statement and parameters."""
    origin = getattr(error, 'orig', None) or error
    return dialect_of(url).error_message(origin) or type(origin).__name__


def _is_lost(error: Exception) -> bool:
    return isinstance(error, DisconnectionError) or (isinstance(error, DBAPIError) and error.connection_invalidated)
