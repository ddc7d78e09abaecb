"""The object type of SQL connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from zatotx.plugins.sql.database_url import (
    DRIVERS,
    DatabaseUrl,
    InvalidDatabaseUrl,
    from_parts,
    parse_database_url,
    split_password,
)
from zatotx.plugins.sql.engine_options import parse_engine_options
from zatotx.schema.delivery_fields import OutgoingDelivery
from zatotx.schema.meta import ObjectType, ZatoApi, field

PARTS = ('engine', 'host', 'port', 'db_name', 'username')


def _url_error(url: str) -> str:
    if not url:
        return ''
    try:
        parse_database_url(url)
    except InvalidDatabaseUrl as error:
        return str(error)
    return ''


class SqlCircuitBreaker(msgspec.Struct, frozen=True, kw_only=True):
    """Circuit breaker settings of an SQL connection: when statements to a failing database are suspended, and for how
    long."""

    failures: Annotated[
        int, field('Consecutive statements that time out or do not reach the database, which open the circuit', ge=1,
                   le=10_000)
    ] = 5
    reset: Annotated[
        float, field('Seconds until one statement is let through to test the database', gt=0, le=86_400)
    ] = 10.0


class SqlOutgoing(OutgoingDelivery, frozen=True, kw_only=True):
    """An SQL connection, which services use as `self.out.sql[name]`. Its address is either `url`, or Zato's fields
    engine, host, port, db_name and username."""

    name: Annotated[str, field('Name of the connection', min_length=1, max_length=200)]
    is_active: Annotated[bool, field('Whether services may use the connection')] = True
    url: Annotated[
        str,
        field('Address as in SQLAlchemy: postgresql://user@host:5432/database, mysql://user@host/database, '
              'sqlite:////absolute/path; options of the driver in its query. A password in it is moved to `password`',
              max_length=4000, check=_url_error),
    ] = ''
    engine: Annotated[
        str, field('Instead of the URL: kind of database', choices=('', *DRIVERS))
    ] = ''
    host: Annotated[str, field('Instead of the URL: host of the database', max_length=255)] = ''
    port: (
        Annotated[int, field('Instead of the URL: port; none = the usual one of the database', ge=1, le=65_535)] | None
    ) = None
    db_name: Annotated[
        str, field('Instead of the URL: name of the database; for SQLite the absolute path of its file',
                   max_length=1000)
    ] = ''
    username: Annotated[str, field('Instead of the URL: account', max_length=200)] = ''
    password: Annotated[str, field('Password of the account', secret='encrypted')] = ''
    pool_size: Annotated[
        int, field('Maximum connections per worker; further statements wait for one. 0 = connections are not kept, '
                   'and five may be open at once', ge=0, le=1000)
    ] = 5
    timeout: Annotated[
        float, field('Seconds for a statement, including the wait for a connection and connecting', gt=0, le=86_400)
    ] = 10.0
    circuit_breaker: (
        Annotated[SqlCircuitBreaker, field('Suspends statements for a failing database; none = never')] | None
    ) = None
    max_result_size: Annotated[
        int, field('Maximum bytes of the result of a statement; streams and sessions have no limit', ge=1024,
                   le=2**40)
    ] = 64 * 1024 * 1024
    extra: Annotated[
        str, field('Lines of key=value: isolation_level of transactions, pool_recycle in seconds', max_length=10_000)
    ] = ''


def location(value: SqlOutgoing) -> DatabaseUrl:
    """Return the database location (host, port and name, or file path) that a connection specifies. Raises
    InvalidDatabaseUrl."""
    if value.url:
        return parse_database_url(value.url)
    return from_parts(value.engine, host=value.host, port=value.port, database=value.db_name, username=value.username)


def move_password(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Move the password in the URL to the field `password`, which is stored encrypted, and return the document."""
    url = document.get('url')
    if not isinstance(url, str) or document.get('password'):
        return document
    clean, password = split_password(url)
    return {**document, 'url': clean, 'password': password} if password else document


def connection_errors(value: SqlOutgoing) -> list[tuple[str, str]]:
    """Return the validation errors that involve several fields of a connection, and the errors of the field `extra`."""
    errors = [('extra', problem) for problem in parse_engine_options(value.extra)[1]]
    if not value.url:
        return errors + _errors_of_parts(value)
    errors += [(name, 'is a part of the url: leave one of both empty') for name in PARTS if getattr(value, name)]
    if split_password(value.url)[1]:
        errors.append(('url', 'has a password, and so has the field password: leave one of them empty'))
    return errors


def _errors_of_parts(value: SqlOutgoing) -> list[tuple[str, str]]:
    if not value.engine:
        return [('url', f'missing, and so is engine: give a url, or {", ".join(PARTS)}')]
    errors = []
    if not value.db_name:
        errors.append(('db_name', 'missing'))
    is_file = DRIVERS[value.engine].startswith('sqlite')
    if not is_file and not value.host:
        errors.append(('host', 'missing'))
    if is_file and value.db_name and not value.db_name.startswith('/'):
        errors.append(('db_name', 'must be the absolute path of a file'))
    return errors


OBJECT_TYPES = (
    ObjectType(
        key='sql',
        struct=SqlOutgoing,
        section='sql',
        title='SQL connection',
        zato=ZatoApi(prefix='outgoing.sql', actions=('create', 'edit', 'delete', 'get-list', 'ping', 'auto-ping')),
        normalize=move_password,
        validate=connection_errors,
    ),
)
