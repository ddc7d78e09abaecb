"""What the source of a service says of its HTTP side: the files it reads, the content types and statuses it answers
with, the errors it raises. Read without running it, for its documentation alone: what stands in variables is not known.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from http import HTTPStatus
from textwrap import dedent

from attrs import define, field

from zatotx.model import errors as faults
from zatotx.wire.http.sse import CONTENT_TYPE as SSE

ANY_TYPE = '*/*'  # where the content type is no constant
_EVENTS = SSE.partition(';')[0]
_BYTES = 'application/octet-stream'  # of a stream that names none
_LOOKED_UP = frozenset({'get', 'getlist', 'pop'})
_OUTGOING = frozenset({'out', 'outgoing'})


@define
class SourceFacts:
    """What was found."""

    files: dict[str, bool] | None = None  # name of an upload -> whether it must be there; None = it reads none
    streams: dict[str, None] = field(factory=dict)  # content types of streamed answers, in order
    content_types: dict[str, None] = field(factory=dict)  # those set on the response
    statuses: set[int] = field(factory=set)  # set on the response
    faults: set[int] = field(factory=set)  # of the errors that it raises by name
    sets_payload: bool = False
    calls_out: bool = False

    @property
    def answers_in(self) -> tuple[str, ...]:
        """The content types beside the channel's own."""
        return (*self.streams, *(one for one in self.content_types if one not in self.streams))

    @property
    def has_own_type(self) -> bool:
        """Whether nothing is answered in the channel's own content type."""
        return bool(self.content_types or (self.streams and not self.sets_payload))


def source_facts(cls: type, base: type) -> SourceFacts:
    """Of a class, and what it inherits from below `base`. A class without source says nothing."""
    found = SourceFacts()
    for one in cls.__mro__:
        if one not in base.__mro__:
            for node in _nodes(one):
                _look(node, found)
    return found


def _nodes(cls: type) -> Iterator[ast.AST]:
    try:
        tree = ast.parse(dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return iter(())
    return ast.walk(tree)


def _look(node: ast.AST, found: SourceFacts) -> None:
    match node:
        case ast.Attribute(attr='files', value=ast.Attribute(attr='request')):
            found.files = {} if found.files is None else found.files
        case ast.Subscript(value=ast.Attribute(attr='files'), slice=ast.Constant(value=str(name))):
            _file(found, name, required=True)
        case ast.Compare(left=ast.Constant(value=str(name)), comparators=[ast.Attribute(attr='files')]):
            _file(found, name, required=False)
        case ast.Call(func=ast.Attribute(attr=looked, value=ast.Attribute(attr='files')),
                      args=[ast.Constant(value=str(name)), *_]) if looked in _LOOKED_UP:  # fmt: skip
            _file(found, name, required=False)
        case ast.Call(func=ast.Attribute(attr='stream', value=ast.Attribute(attr='response'))):
            given = node.args[1:2] or [one.value for one in node.keywords if one.arg == 'content_type']
            found.streams[_content_type(given[0]) if given else _BYTES] = None
        case ast.Call(func=ast.Attribute(attr='events', value=ast.Attribute(attr='response'))):
            found.streams[_EVENTS] = None
        case ast.Assign(targets=[ast.Attribute(attr=attr, value=ast.Attribute(attr='response'))]):
            _set(attr, node.value, found)
        case ast.Attribute(attr='payload', value=ast.Attribute(attr='response')):
            found.sets_payload = True
        case ast.Attribute(attr=attr, value=ast.Name(id='self')) if attr in _OUTGOING:
            found.calls_out = True
        case ast.Raise(exc=ast.Call(func=raised)) | ast.Raise(exc=ast.Name() | ast.Attribute() as raised):
            _raised(raised, found)


def _file(found: SourceFacts, name: str, *, required: bool) -> None:
    """One that is looked up anywhere need not be there."""
    files = found.files = {} if found.files is None else found.files
    files[name] = files.get(name, True) and required


def _set(attribute: str, value: ast.expr, found: SourceFacts) -> None:
    if attribute == 'content_type':
        found.content_types[_content_type(value)] = None
    elif attribute == 'status_code':
        status = _status(value)
        if status:
            found.statuses.add(status)
    elif attribute == 'payload':
        found.sets_payload = True


def _content_type(value: ast.expr) -> str:
    match value:
        case ast.Constant(value=str(said)) if said:
            return said.partition(';')[0].strip().lower()
    return ANY_TYPE


def _status(value: ast.expr) -> int:
    """0 where it is no constant."""
    match value:
        case ast.Constant(value=int(code)):
            return code
        case ast.Attribute(attr=name, value=ast.Name(id='HTTPStatus') | ast.Attribute(attr='HTTPStatus')):
            return getattr(HTTPStatus, name, 0)
    return 0


def _raised(raised: ast.expr, found: SourceFacts) -> None:
    name = raised.attr if isinstance(raised, ast.Attribute) else raised.id if isinstance(raised, ast.Name) else ''
    kind = getattr(faults, name, None)
    if isinstance(kind, type) and issubclass(kind, faults.ServiceError):
        found.faults.add(kind.status)


__all__ = ['ANY_TYPE', 'SourceFacts', 'source_facts']
