"""Scripts for tests. A script defines the results that connections and other services return, and the order of the
results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from attrs import define, field

from zatotx.interfaces.outgoing import connection_not_found
from zatotx.model.errors import Inactive, ServiceUnavailable, Timeout
from zatotx.testing.connection_api_signatures import ROWS, outgoing_method_signatures
from zatotx.testing.connection_results import (
    DelayedResult,
    ImmediateResult,
    NeverCompletingResult,
    Response,
    ScriptedResult,
    copy_containers,
    to_rows,
)

TIMEOUT = 10.0  # seconds: the default `timeout` of every outgoing connection
SERVICE = 'service'  # the kind of scripted services
KIND_ALIASES = {'plain_http': 'rest', 'jms_wmq': 'ibm_mq'}  # Zato's names for kinds
ANY_PAYLOAD = object()
MISSING, INACTIVE = 'missing', 'inactive'


class Unscripted(AssertionError):  # noqa: N818 - names what was called
    """Raised if a service makes a call that the test did not script.

    The test fails even if the service catches it.
    """


def canonical_kind(kind: str) -> str:
    """Return zatotx's name of a kind. For example, the kind plain_http of Zato's self.outgoing.plain_http is named
    rest."""
    return KIND_ALIASES.get(kind, kind)


@define(frozen=True)
class Call:
    """A recorded call of a connection or of another service."""

    kind: str
    name: str  # of the connection or service
    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(factory=dict)

    @property
    def data(self) -> Any:
        """The data sent: the body of a request, the message of a send, the payload for a service; otherwise None."""
        if 'data' in self.kwargs:
            return self.kwargs['data']
        return self.args[0] if self.args else None

    @property
    def target(self) -> str:
        """The kind and the name: `rest 'CRM'`."""
        return f'{self.kind} {self.name!r}'

    def __str__(self) -> str:
        arguments = [repr(value) for value in self.args] + [f'{name}={value!r}' for name, value in self.kwargs.items()]
        return f'{self.method}({", ".join(arguments)})'

    @classmethod
    def of(cls, target: tuple[str, str], method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
        """Record a call with copies of its arguments, so that later changes have no effect."""
        return cls(*target, method, copy_containers(tuple(args)), copy_containers(dict(kwargs)))


@define(frozen=True)
class CallMatcher:
    """Selects the calls to which an entry of a script applies."""

    method: str = ''  # '' = any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(factory=dict)
    where: Callable[[Call], object] | None = None

    def matches(self, call: Call) -> bool:
        if self.method and self.method != call.method:
            return False
        if len(self.args) > len(call.args):
            return False
        if not all(_same(expected, actual) for expected, actual in zip(self.args, call.args, strict=False)):
            return False
        if not all(
            name in call.kwargs and _same(expected, call.kwargs[name]) for name, expected in self.kwargs.items()
        ):
            return False
        return self.where is None or bool(self.where(call))

    def __str__(self) -> str:
        arguments = [repr(value) for value in self.args] + [f'{name}={value!r}' for name, value in self.kwargs.items()]
        if self.where is not None:
            arguments.append('where=…')
        return f'{self.method or "any method"}({", ".join(arguments) or "…"})'


def _same(expected: Any, actual: Any) -> bool:
    """Return whether a value equals the expected one, or satisfies it if that is a function."""
    return bool(expected(actual)) if callable(expected) else bool(expected == actual)


@define(eq=False)
class ScriptEntry:
    """One entry of a script. It consists of a condition on calls, and the result of matching calls."""

    matcher: CallMatcher
    result: ScriptedResult
    times: int | None  # remaining uses; None = unlimited
    played: int = 0

    def take(self, call: Call) -> bool:
        """Return whether the entry applies to a call, and count the use."""
        if self.times == 0 or not self.matcher.matches(call):
            return False
        self.played += 1
        if self.times is not None:
            self.times -= 1
        return True

    @property
    def unused(self) -> bool:
        return bool(self.times)

    def __str__(self) -> str:
        return f'{self.matcher}{"" if self.times != 0 else " (used up)"}'


class Script:
    """The script of one connection or service. The first entry that matches a call and has uses left supplies the
    result."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        self.entries: list[ScriptEntry] = []
        self.state = ''  # MISSING, INACTIVE, or '' for a normal one

    @property
    def title(self) -> str:
        """The name in error messages."""
        return f'Outgoing connection {self.name} ({self.kind})' if self.kind != SERVICE else f'Service {self.name}'

    def check(self, cid: str) -> None:
        """Raise NotFound or Inactive if the test declares the connection missing or inactive."""
        if self.state == MISSING:
            raise connection_not_found(self.kind, self.name, cid)
        if self.state == INACTIVE:
            raise Inactive(self.name, cid)

    def find(self, call: Call) -> ScriptEntry | None:
        """Return the entry for a call."""
        return next((entry for entry in self.entries if entry.take(call)), None)

    def unused(self) -> list[str]:
        """Return descriptions of the entries that were not used."""
        return [f'{self.kind} {self.name!r} {entry.matcher}' for entry in self.entries if entry.unused]


class Expectation:
    """Defines the results of matching calls. Each method adds an entry to the script of a connection or service.

    An entry is used once, or `times` times; with None, any number of times including none.
    """

    def __init__(self, script: Script, matcher: CallMatcher) -> None:
        self._script = script
        self._matcher = matcher

    def _add(self, result: ScriptedResult, times: int | None) -> Self:
        """Add an entry."""
        if times is not None and times < 1:
            raise ValueError(f'times={times}: an answer is given once or more; None = as often as it is asked for')
        self._script.entries.append(ScriptEntry(self._matcher, result, times))
        return self

    def _shaped(self, value: Any, **head: Any) -> Any:
        """Convert a scripted value to what this kind returns to services."""
        return value

    def answers(self, value: Any = None, *, times: int | None = 1, after: float = 0.0) -> Self:
        """Return `value`, after `after` seconds on the test's clock."""
        return self._add(
            DelayedResult(after, ImmediateResult(lambda call: self._shaped(copy_containers(value)))), times
        )

    def does(self, function: Callable[[Call], Any], *, times: int | None = 1) -> Self:
        """Return what `function` returns for the Call, and raise what it raises."""
        return self._add(ImmediateResult(lambda call: self._shaped(function(call))), times)

    def raises(self, error: BaseException | type[BaseException], *, times: int | None = 1) -> Self:
        """Raise `error`."""

        def fail(call: Call) -> Any:
            raise error

        return self._add(ImmediateResult(fail), times)

    def times_out(self, after: float = TIMEOUT, *, times: int | None = 1) -> Self:
        """Raise Timeout naming the connection or service, after `after` seconds on the test's clock."""
        sentence = f'{self._script.title} gave no answer within {after:g} s'
        return self._add(DelayedResult(after, ImmediateResult.raising(lambda cid: Timeout(cid, sentence))), times)

    def never_answers(self, *, times: int | None = 1) -> Self:
        """Keep the service waiting until its deadline."""
        return self._add(NeverCompletingResult(), times)

    def is_missing(self) -> None:
        """Declare that nothing of this name exists: accessing it raises NotFound."""
        self._script.state = MISSING

    def is_inactive(self) -> None:
        """Declare it inactive: accessing it raises Inactive."""
        self._script.state = INACTIVE


class ServiceScript(Expectation):
    """The script of another service. The test obtains it with `self.invokes(name)`."""

    def on(self, payload: Any = ANY_PAYLOAD, *, where: Callable[[Call], object] | None = None) -> Expectation:
        """Limit the following entry to calls with this payload; `where` receives the Call."""
        return Expectation(self._script, CallMatcher(args=() if payload is ANY_PAYLOAD else (payload,), where=where))


class ConnectionScript(Expectation):
    """The script of one connection. In a test, it is the object `self.outgoing.<kind>[name]`."""

    def on(self, method: str = '', *args: Any, where: Callable[[Call], object] | None = None,
           **kwargs: Any) -> ConnectionScript:
        """Limit the following entry to calls of `method` with these arguments; the calls may have further arguments.

        An argument that is a function is called with the actual value and returns whether it matches; `where` is called
        with the Call.
        """
        return ConnectionScript(self._script, CallMatcher(method, args, kwargs, where))

    def _shaped(self, value: Any, **head: Any) -> Any:
        signature = outgoing_method_signatures(self._script.kind)
        if signature.has_http_results:
            return value if isinstance(value, Response) else Response.of(value, **head)
        return to_rows(value) if signature.results == ROWS else value

    def answers(self, value: Any = None, *, times: int | None = 1, after: float = 0.0, status: int = 200,
                headers: Mapping[str, str] | None = None) -> Self:
        """Return `value` as connections of this kind do, after `after` seconds on the test's clock.

        HTTP connections return a response with `status`, `headers` and the value as `.data`, SQL connections rows for
        dicts, others the value itself.
        """
        if (status != 200 or headers) and not outgoing_method_signatures(self._script.kind).has_http_results:
            raise TypeError(f'Answers of {self._script.kind} have no status and no headers')
        head = {'status_code': status, 'headers': dict(headers or {})}
        return self._add(
            DelayedResult(after, ImmediateResult(lambda call: self._shaped(copy_containers(value), **head))), times
        )

    def answers_status(self, status: int, value: Any = '', *, headers: Mapping[str, str] | None = None,
                       times: int | None = 1) -> Self:
        """Return an HTTP response with that status."""
        if not outgoing_method_signatures(self._script.kind).has_http_results:
            raise TypeError(f'Answers of {self._script.kind} have no status: script the fault, e.g. refuses()')
        return self.answers(value, status=status, headers=headers, times=times)

    def refuses(self, *, times: int | None = 1) -> Self:
        """Raise ServiceUnavailable naming the connection, as if the peer refused connections."""
        return self._unavailable('nobody is at its address', times)

    def cut_off(self, *, times: int | None = 1) -> Self:
        """Raise ServiceUnavailable naming the connection, as if its circuit breaker were open."""
        return self._unavailable('it is cut off by its circuit breaker', times)

    def _unavailable(self, reason: str, times: int | None) -> Self:
        sentence = f'{self._script.title} cannot be used: {reason}'
        return self._add(ImmediateResult.raising(lambda cid: ServiceUnavailable(cid, sentence)), times)


class Scripts:
    """All scripts of a test, the calls that were made, and the calls that had no script."""

    def __init__(self) -> None:
        self.scripts: dict[tuple[str, str], Script] = {}
        self.calls: list[Call] = []
        self.problems: list[str] = []

    def script_for(self, kind: str, name: str) -> Script:
        """Return the script of a connection or service, created on first use."""
        key = canonical_kind(kind), name
        return self.scripts.setdefault(key, Script(*key))

    def existing_script(self, kind: str, name: str) -> Script | None:
        return self.scripts.get((kind, name))

    def next_result(self, call: Call, calling_service: str) -> ScriptedResult:
        """Return the scripted result of a call. `calling_service` is the calling service, '' for the test itself.

        Raises Unscripted, which fails the test even if the service catches it.
        """
        self.calls.append(call)
        script = self.existing_script(call.kind, call.name)
        entry = script.find(call) if script is not None else None
        if entry is not None:
            return entry.result
        request = f'{call.target} for {call}'
        caller = f'Service {calling_service}' if calling_service else 'The test'
        sentence = f'{caller} asked {request}, which is not scripted. {self._scripted(script, call)}'
        self.problems.append(sentence)
        raise Unscripted(sentence)

    def _scripted(self, script: Script | None, call: Call) -> str:
        """Describe what is scripted, for error messages."""
        if script is not None and script.entries:
            return f'Scripted for it: {", ".join(map(str, script.entries))}.'
        others = [
            f'{kind} {name!r}' for (kind, name), script_of_other in self.scripts.items() if script_of_other.entries
        ]
        expression = (
            f'self.invokes({call.name!r})' if call.kind == SERVICE else f'self.outgoing.{call.kind}[{call.name!r}]'
        )
        return f'Scripted are: {", ".join(others) or "none"}. Say what it gives with {expression}.answers(…).'

    def unused(self) -> list[str]:
        """Return descriptions of all entries that were not used."""
        return [line for script in self.scripts.values() for line in script.unused()]
