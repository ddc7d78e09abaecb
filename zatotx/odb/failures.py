"""What SQLAlchemy and the driver raise, as the faults a caller may see: each names the ODB, never its password."""

from __future__ import annotations

from sqlalchemy.exc import DatabaseError, DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from zatotx.model.faults import ServiceUnavailable
from zatotx.odb.urls import masked


def as_fault(error: Exception, url: str) -> Exception:
    """ServiceUnavailable where the database is away, locked, full or not one; the error itself otherwise."""
    if isinstance(error, PoolTimeout):
        return ServiceUnavailable(None, f'The ODB ({masked(url)}) has no connection free now')
    if isinstance(error, OperationalError | InterfaceError) or _is_broken(error):
        return ServiceUnavailable(None, f'The ODB ({masked(url)}) cannot be used now: {reason(error)}')
    return error


def reason(error: Exception) -> str:
    """The driver's own words, without SQLAlchemy's statement and parameters around them."""
    origin = getattr(error, 'orig', None) or error
    return str(origin) or type(origin).__name__


def _is_broken(error: Exception) -> bool:
    """A plain DatabaseError is what SQLite says of a file that is malformed or none of its own."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or type(error) is DatabaseError
    return isinstance(error, DisconnectionError)
