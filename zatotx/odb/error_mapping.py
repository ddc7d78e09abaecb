"""What SQLAlchemy and the driver raise, as the faults a caller may see: each names the ODB, never its password."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from zatotx.model.errors import ServiceUnavailable
from zatotx.odb.engine import dialect_of
from zatotx.odb.urls import mask_password


def map_error(error: Exception, url: str) -> Exception:
    """ServiceUnavailable where the database is away, locked, full, read-only or not one; the error itself otherwise."""
    if isinstance(error, PoolTimeout):
        return ServiceUnavailable(None, f'The ODB ({mask_password(url)}) has no connection free now')
    if _is_lost(error) or dialect_of(url).is_away(error):
        return ServiceUnavailable(None, f'The ODB ({mask_password(url)}) cannot be used now: {reason(error, url)}')
    return error


def reason(error: Exception, url: str) -> str:
    """The driver's own words, without SQLAlchemy's statement and parameters around them."""
    origin = getattr(error, 'orig', None) or error
    return dialect_of(url).says(origin) or type(origin).__name__


def _is_lost(error: Exception) -> bool:
    return isinstance(error, DisconnectionError) or (isinstance(error, DBAPIError) and error.connection_invalidated)
