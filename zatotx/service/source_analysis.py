"""Analyzes the source code of a service for its HTTP documentation. The analysis finds uploaded files, content types,
statuses and raised errors.

The source is parsed, never run, so values held in variables are not known.
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

ANY_TYPE = '*/*'  # for a content type that is not a constant
_EVENTS = SSE.partition(';')[0]
_BYTES = 'application/octet-stream'  # content type of a stream without one
_LOOKED_UP = frozenset({'get', 'getlist', 'pop'})
_OUTGOING = frozenset({'out', 'outgoing'})


@define
class SourceAnalysisResult:
    """The facts about a service that the analysis of its source code found."""

    files: dict[str, bool] | None = None  # name of an upload -> whether it is required; None: it reads none
    streams: dict[str, None] = field(factory=dict)  # content types of streamed responses, in order
    content_types: dict[str, None] = field(factory=dict)  # those set on the response
    statuses: set[int] = field(factory=set)  # set on the response
    error_statuses: set[int] = field(factory=set)  # statuses of the errors that it raises by name
    sets_payload: bool = False
    uses_outgoing: bool = False

    @property
    def response_types(self) -> tuple[str, ...]:
        """The content types of responses besides the channel's own."""
        return (
            *self.streams,
            *(content_type for content_type in self.content_types if content_type not in self.streams),
        )

    @property
    def has_own_type(self) -> bool:
        """Whether the service never responds in the channel's own content type."""
        return bool(self.content_types or (self.streams and not self.sets_payload))


def analyze_source(cls: type, base: type) -> SourceAnalysisResult:
    """Analyze the source code of a class and of the classes between it and `base`. A class without source code yields
    no facts."""
    facts = SourceAnalysisResult()
    for cls_in_mro in cls.__mro__:
        if cls_in_mro not in base.__mro__:
            for node in _nodes(cls_in_mro):
                _examine(node, facts)
    return facts


def _nodes(cls: type) -> Iterator[ast.AST]:
    """Yield all syntax nodes of a class."""
    try:
        tree = ast.parse(dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return iter(())
    return ast.walk(tree)


def _examine(node: ast.AST, facts: SourceAnalysisResult) -> None:
    """Add to `facts` what one syntax node says."""
    match node:
        case ast.Attribute(attr='files', value=ast.Attribute(attr='request')):
            facts.files = {} if facts.files is None else facts.files
        case ast.Subscript(value=ast.Attribute(attr='files'), slice=ast.Constant(value=str(name))):
            _add_file(facts, name, required=True)
        case ast.Compare(left=ast.Constant(value=str(name)), comparators=[ast.Attribute(attr='files')]):
            _add_file(facts, name, required=False)
        case ast.Call(func=ast.Attribute(attr=method, value=ast.Attribute(attr='files')),
                      args=[ast.Constant(value=str(name)), *_]) if method in _LOOKED_UP:  # fmt: skip
            _add_file(facts, name, required=False)
        case ast.Call(func=ast.Attribute(attr='stream', value=ast.Attribute(attr='response'))):
            content_type = node.args[1:2] or [
                keyword.value for keyword in node.keywords if keyword.arg == 'content_type'
            ]
            facts.streams[_content_type(content_type[0]) if content_type else _BYTES] = None
        case ast.Call(func=ast.Attribute(attr='events', value=ast.Attribute(attr='response'))):
            facts.streams[_EVENTS] = None
        case ast.Assign(targets=[ast.Attribute(attr=attr, value=ast.Attribute(attr='response'))]):
            _add_assignment(attr, node.value, facts)
        case ast.Attribute(attr='payload', value=ast.Attribute(attr='response')):
            facts.sets_payload = True
        case ast.Attribute(attr=attr, value=ast.Name(id='self')) if attr in _OUTGOING:
            facts.uses_outgoing = True
        case ast.Raise(exc=ast.Call(func=raised)) | ast.Raise(exc=ast.Name() | ast.Attribute() as raised):
            _add_raised(raised, facts)


def _add_file(facts: SourceAnalysisResult, name: str, *, required: bool) -> None:
    """Record an uploaded file; it is optional if any lookup tolerates its absence."""
    files = facts.files = {} if facts.files is None else facts.files
    files[name] = files.get(name, True) and required


def _add_assignment(attribute: str, value: ast.expr, facts: SourceAnalysisResult) -> None:
    """Record an assignment to an attribute of the response."""
    if attribute == 'content_type':
        facts.content_types[_content_type(value)] = None
    elif attribute == 'status_code':
        status = _status(value)
        if status:
            facts.statuses.add(status)
    elif attribute == 'payload':
        facts.sets_payload = True


def _content_type(value: ast.expr) -> str:
    """Return the media type of a constant, or '*/*'."""
    match value:
        case ast.Constant(value=str(constant)) if constant:
            return constant.partition(';')[0].strip().lower()
    return ANY_TYPE


def _status(value: ast.expr) -> int:
    """Return the status code of a constant, 0 for anything else."""
    match value:
        case ast.Constant(value=int(code)):
            return code
        case ast.Attribute(attr=name, value=ast.Name(id='HTTPStatus') | ast.Attribute(attr='HTTPStatus')):
            return getattr(HTTPStatus, name, 0)
    return 0


def _add_raised(raised: ast.expr, facts: SourceAnalysisResult) -> None:
    """Record the status of a raised error."""
    name = raised.attr if isinstance(raised, ast.Attribute) else raised.id if isinstance(raised, ast.Name) else ''
    kind = getattr(faults, name, None)
    if isinstance(kind, type) and issubclass(kind, faults.ServiceError):
        facts.error_statuses.add(kind.status)


__all__ = ['ANY_TYPE', 'SourceAnalysisResult', 'analyze_source']
