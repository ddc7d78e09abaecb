"""Stores statements of connections with `delivery: guaranteed`, and executes them later.

Parameters of types that MessagePack does not have are stored as a mapping of the type's name to text, such as
{'decimal': '1.20'}, which people can read and edit in a dead letter.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy.exc import StatementError

from zatotx.connectors.connection_registry import ConnectionRegistry
from zatotx.connectors.guaranteed_delivery import StoredCall, bind_arguments
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.model.errors import BadRequest
from zatotx.plugins.sql.connection import SqlConnection
from zatotx.plugins.sql.facade import SqlFacade
from zatotx.plugins.sql.statement_execution import prepare

MAX_ROWS = 10_000  # of one stored execute_many
_INTEGER_LIMIT = 2**63

_ENCODERS: Mapping[type, tuple[str, Callable[[Any], str]]] = {
    datetime: ('datetime', datetime.isoformat),
    date: ('date', date.isoformat),
    time: ('time', time.isoformat),
    timedelta: ('microseconds', lambda value: str(value // timedelta(microseconds=1))),
    Decimal: ('decimal', str),
    UUID: ('uuid', str),
    bytes: ('base64', lambda value: b64encode(value).decode('ascii')),
}
_DECODERS: Mapping[str, Callable[[str], Any]] = {
    'datetime': datetime.fromisoformat,
    'date': date.fromisoformat,
    'time': time.fromisoformat,
    'microseconds': lambda text: timedelta(microseconds=int(text)),
    'decimal': Decimal,
    'uuid': UUID,
    'base64': lambda text: b64decode(text, validate=True),
    'integer': int,
}


def prepare_stored(value: Any, call: StoredCall, message_id: str) -> StoredCall:
    """Return a statement in the form in which it is stored. The statements of a connection are executed in the order in
    which they were stored. Raises TypeError and ValueError for parameters that do not match the statement or cannot be
    stored."""
    many = call.method == 'execute_many'
    arguments = bind_arguments(call, ('statement', 'rows' if many else 'params'), ('timeout',))
    statement = arguments['statement']
    if many:
        rows = [_prepared(statement, row, f'row {number}: ') for number, row in enumerate(arguments.get('rows', ()), 1)]
        if len(rows) > MAX_ROWS:
            raise ValueError(f'{len(rows)} rows: no more than {MAX_ROWS} are stored at once')
        args: list[Any] = [statement, rows]
    else:
        args = [statement, _prepared(statement, arguments.get('params'), '')]
    timeout = arguments.get('timeout')
    return StoredCall(method=call.method, args=args, kwargs={} if timeout is None else {'timeout': timeout},
                      order_key=f'sql:{value.name}')  # fmt: skip


def _prepared(statement: str, params: Any, where: str) -> dict[str, Any]:
    _, values = prepare(statement, params)
    return {name: encode_value(given, f'{where}the parameter {name}') for name, given in values.items()}


def encode_value(value: Any, what: str) -> Any:
    """Convert a parameter to the form in which it is stored. Raises TypeError for a type that cannot be stored."""
    if value is None or isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        return value if -_INTEGER_LIMIT <= value < _INTEGER_LIMIT else {'integer': str(value)}
    if isinstance(value, bytearray | memoryview):
        value = bytes(value)
    for type_, (name, encode) in _ENCODERS.items():  # datetime, which is a date, comes first
        if isinstance(value, type_):
            return {name: encode(value)}
    if isinstance(value, list | tuple | set | frozenset):
        return [encode_value(item, what) for item in value]
    raise TypeError(f'{what} is a {type(value).__name__}, which cannot be stored')


def decode_value(stored: Any) -> Any:
    """Convert a stored parameter to its value. Raises ValueError for an invalid form, which results if a dead letter
    was edited wrongly."""
    if isinstance(stored, list):
        return [decode_value(item) for item in stored]
    if not isinstance(stored, dict):
        return stored
    if len(stored) != 1:
        raise ValueError(f'a parameter is a mapping of {len(stored)} keys: expected one, the name of its type')
    ((name, text),) = stored.items()
    if name not in _DECODERS:
        raise ValueError(f'a parameter has the type {name!r}: expected {", ".join(_DECODERS)}')
    try:
        return _DECODERS[name](text)
    except (ArithmeticError, TypeError, ValueError):
        raise ValueError(f'a parameter is no {name}') from None


class StoredStatements:
    """The object `self.out.sql` of the internal service that executes stored statements."""

    __slots__ = ('_call', '_registry')

    def __init__(self, registry: ConnectionRegistry[SqlConnection], call: IServiceCall) -> None:
        self._registry, self._call = registry, call

    def __getitem__(self, name: str) -> StoredStatementsOf:
        """Return the connection of that name. Raises NotFound, Inactive and ServiceUnavailable."""
        self._registry.find(name, self._call.cid)
        return StoredStatementsOf(SqlFacade(self._registry, name, self._call), self._call)


class StoredStatementsOf:
    """Executes the stored statements of one connection. Its methods raise BadRequest for a statement that the database
    rejects, which is not repeated, and the other errors of StatementMethods."""

    __slots__ = ('_call', '_facade')

    def __init__(self, facade: SqlFacade, call: IServiceCall) -> None:
        self._facade, self._call = facade, call

    async def execute(self, statement: str, params: Mapping[str, Any], timeout: float | None = None) -> int:
        """See StatementMethods."""
        return await self._run(self._facade.execute(statement, _decoded(params), timeout=timeout))

    async def execute_many(self, statement: str, rows: list[Mapping[str, Any]], timeout: float | None = None) -> int:
        """See StatementMethods."""
        return await self._run(self._facade.execute_many(statement, [_decoded(row) for row in rows], timeout=timeout))

    async def _run(self, executing: Awaitable[int]) -> int:
        try:
            return await executing
        except StatementError as error:  # errors of the database that may end are others: see ErrorMapping
            raise BadRequest(self._call.cid, str(error)) from error


def _decoded(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: decode_value(value) for name, value in params.items()}
