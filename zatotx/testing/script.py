"""What a test says of the world around a service: who answers what, in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from attrs import define, field

from zatotx.interfaces.outgoing import not_found
from zatotx.model.errors import Inactive, ServiceUnavailable, Timeout
from zatotx.testing.doubles import HTTP_KINDS, Response, rows, snapshot
from zatotx.testing.scripted_results import Later, Never, Returns, ScriptedResult

TIMEOUT = 10.0  # seconds: the default `timeout` of every outgoing connection
SERVICE = 'service'  # the kind under which scripted services are kept
SAME = {'plain_http': 'rest', 'jms_wmq': 'ibm_mq'}  # Zato's names for kinds
ANY = object()
MISSING, INACTIVE = 'missing', 'inactive'


class Unscripted(AssertionError):  # noqa: N818 - it is what was asked for
    """The service asked for something that the test did not script. The test fails, whatever the service does."""


def canonical_form(kind: str) -> str:
    """A kind by zatotx's name: self.out.rest and Zato's self.outgoing.plain_http reach the same connections."""
    return SAME.get(kind, kind)


@define(frozen=True)
class Call:
    """One call of a connection or of another service, as it was made."""

    kind: str
    name: str  # of the connection or service
    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(factory=dict)

    @property
    def data(self) -> Any:
        """What went out: the body of a request, the message of a send, the payload for a service; else None."""
        if 'data' in self.kwargs:
            return self.kwargs['data']
        return self.args[0] if self.args else None

    @property
    def target(self) -> str:
        """`rest 'CRM'`"""
        return f'{self.kind} {self.name!r}'

    def __str__(self) -> str:
        given = [repr(value) for value in self.args] + [f'{name}={value!r}' for name, value in self.kwargs.items()]
        return f'{self.method}({", ".join(given)})'

    @classmethod
    def of(cls, target: tuple[str, str], method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
        """The record of a call, which later changes of what was handed over do not touch."""
        return cls(*target, method, snapshot(tuple(args)), snapshot(dict(kwargs)))


@define(frozen=True)
class Matcher:
    """Which calls an entry of a script is for."""

    method: str = ''  # '' = any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(factory=dict)
    where: Callable[[Call], object] | None = None

    def matches(self, call: Call) -> bool:
        if self.method and self.method != call.method:
            return False
        if len(self.args) > len(call.args):
            return False
        if not all(_same(wanted, given) for wanted, given in zip(self.args, call.args, strict=False)):
            return False
        if not all(name in call.kwargs and _same(wanted, call.kwargs[name]) for name, wanted in self.kwargs.items()):
            return False
        return self.where is None or bool(self.where(call))

    def __str__(self) -> str:
        given = [repr(value) for value in self.args] + [f'{name}={value!r}' for name, value in self.kwargs.items()]
        if self.where is not None:
            given.append('where=…')
        return f'{self.method or "any method"}({", ".join(given) or "…"})'


def _same(wanted: Any, given: Any) -> bool:
    """Whether a value is the wanted one; a function that is wanted decides itself."""
    return bool(wanted(given)) if callable(wanted) else bool(wanted == given)


@define(eq=False)
class Entry:
    """One line of a script."""

    matcher: Matcher
    play: ScriptedResult
    times: int | None  # how often it may still be played; None = as often as it is asked for
    played: int = 0

    def take(self, call: Call) -> bool:
        """Whether it is for this call; it is used up by it."""
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
    """What one connection or service answers, entry by entry: the first that matches a call and is not used up."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        self.entries: list[Entry] = []
        self.state = ''  # MISSING, INACTIVE, or as it should be

    @property
    def title(self) -> str:
        """How faults name it."""
        return f'Outgoing connection {self.name} ({self.kind})' if self.kind != SERVICE else f'Service {self.name}'

    def check(self, cid: str) -> None:
        """Whether a connection is there. Raises NotFound, Inactive."""
        if self.state == MISSING:
            raise not_found(self.kind, self.name, cid)
        if self.state == INACTIVE:
            raise Inactive(self.name, cid)

    def find(self, call: Call) -> Entry | None:
        """The entry for a call."""
        return next((entry for entry in self.entries if entry.take(call)), None)

    def unused(self) -> list[str]:
        """What was scripted and not asked for."""
        return [f'{self.kind} {self.name!r} {entry.matcher}' for entry in self.entries if entry.unused]


class Expectation:
    """What is to happen when calls of one kind come: each verb adds one entry to the script, played once unless
    `times` says how often (None: as often as it is asked for, and not at all is fine too)."""

    def __init__(self, script: Script, matcher: Matcher) -> None:
        self._script = script
        self._matcher = matcher

    def _add(self, play: ScriptedResult, times: int | None) -> Self:
        if times is not None and times < 1:
            raise ValueError(f'times={times}: an answer is given once or more; None = as often as it is asked for')
        self._script.entries.append(Entry(self._matcher, play, times))
        return self

    def _shaped(self, value: Any, **head: Any) -> Any:
        """A value as this kind gives it to services."""
        return value

    def answers(self, value: Any = None, *, times: int | None = 1, after: float = 0.0) -> Self:
        """Gives `value`, `after` seconds on the test's clock."""
        return self._add(Later(after, Returns(lambda call: self._shaped(snapshot(value)))), times)

    def does(self, function: Callable[[Call], Any], *, times: int | None = 1) -> Self:
        """Gives what `function` makes of the Call; raises what it raises."""
        return self._add(Returns(lambda call: self._shaped(function(call))), times)

    def raises(self, error: BaseException | type[BaseException], *, times: int | None = 1) -> Self:
        """Raises `error`."""

        def fail(call: Call) -> Any:
            raise error

        return self._add(Returns(fail), times)

    def times_out(self, after: float = TIMEOUT, *, times: int | None = 1) -> Self:
        """Raises Timeout naming it, `after` seconds on the test's clock."""
        sentence = f'{self._script.title} gave no answer within {after:g} s'
        return self._add(Later(after, Returns.raising(lambda cid: Timeout(cid, sentence))), times)

    def never_answers(self, *, times: int | None = 1) -> Self:
        """Keeps the service waiting until its deadline."""
        return self._add(Never(), times)

    def is_missing(self) -> None:
        """There is nothing of that name: asking for it raises NotFound."""
        self._script.state = MISSING

    def is_inactive(self) -> None:
        """It is switched off: asking for it raises Inactive."""
        self._script.state = INACTIVE


class ServiceScript(Expectation):
    """What `self.invokes(name)` is: the script of another service."""

    def on(self, payload: Any = ANY, *, where: Callable[[Call], object] | None = None) -> Expectation:
        """The same for calls with this payload only; `where` decides by the Call."""
        return Expectation(self._script, Matcher(args=() if payload is ANY else (payload,), where=where))


class ConnectionScript(Expectation):
    """What `self.outgoing.<kind>[name]` is in a test: the script of one connection."""

    def on(self, method: str = '', *args: Any, where: Callable[[Call], object] | None = None,
           **kwargs: Any) -> ConnectionScript:
        """The same for calls of `method` only, with these arguments; others the call may have beside. An argument that
        is a function decides itself whether it likes what was given, `where` decides by the whole Call."""
        return ConnectionScript(self._script, Matcher(method, args, kwargs, where))

    def _shaped(self, value: Any, **head: Any) -> Any:
        kind = self._script.kind
        if kind in HTTP_KINDS:
            return value if isinstance(value, Response) else Response.of(value, **head)
        return rows(value) if kind == 'sql' else value

    def answers(self, value: Any = None, *, times: int | None = 1, after: float = 0.0, status: int = 200,
                headers: Mapping[str, str] | None = None) -> Self:
        """Gives `value` as connections of its kind do, `after` seconds on the test's clock: of an HTTP connection a
        response with `status`, `headers` and the value as `.data`, of SQL rows of dicts, else the value itself."""
        if (status != 200 or headers) and self._script.kind not in HTTP_KINDS:
            raise TypeError(f'Answers of {self._script.kind} have no status and no headers')
        head = {'status_code': status, 'headers': dict(headers or {})}
        return self._add(Later(after, Returns(lambda call: self._shaped(snapshot(value), **head))), times)

    def answers_status(self, status: int, value: Any = '', *, headers: Mapping[str, str] | None = None,
                       times: int | None = 1) -> Self:
        """Gives a response with that status, of an HTTP connection."""
        if self._script.kind not in HTTP_KINDS:
            raise TypeError(f'Answers of {self._script.kind} have no status: script the fault, e.g. refuses()')
        return self.answers(value, status=status, headers=headers, times=times)

    def refuses(self, *, times: int | None = 1) -> Self:
        """Nobody is at the peer: raises ServiceUnavailable naming the connection."""
        return self._unavailable('nobody is at its address', times)

    def cut_off(self, *, times: int | None = 1) -> Self:
        """Its circuit breaker is open: raises ServiceUnavailable naming the connection."""
        return self._unavailable('it is cut off by its circuit breaker', times)

    def _unavailable(self, why: str, times: int | None) -> Self:
        sentence = f'{self._script.title} cannot be used: {why}'
        return self._add(Returns.raising(lambda cid: ServiceUnavailable(cid, sentence)), times)


class Scripts:
    """All scripts of a test, what was asked, and what was asked for without a script."""

    def __init__(self) -> None:
        self.scripts: dict[tuple[str, str], Script] = {}
        self.calls: list[Call] = []
        self.problems: list[str] = []

    def of(self, kind: str, name: str) -> Script:
        """The script of a connection or service, made where there is none yet."""
        key = canonical_form(kind), name
        return self.scripts.setdefault(key, Script(*key))

    def known(self, kind: str, name: str) -> Script | None:
        return self.scripts.get((kind, name))

    def play(self, call: Call, asker: str) -> ScriptedResult:
        """What is to happen now. `asker`: the service that calls, '' for the test itself. Raises Unscripted, which the
        test fails of even where the service catches it."""
        self.calls.append(call)
        script = self.known(call.kind, call.name)
        entry = script.find(call) if script is not None else None
        if entry is not None:
            return entry.play
        verb = f'{call.target} for {call}'
        who = f'Service {asker}' if asker else 'The test'
        sentence = f'{who} asked {verb}, which is not scripted. {self._scripted(script, call)}'
        self.problems.append(sentence)
        raise Unscripted(sentence)

    def _scripted(self, script: Script | None, call: Call) -> str:
        if script is not None and script.entries:
            return f'Scripted for it: {", ".join(map(str, script.entries))}.'
        others = [f'{kind} {name!r}' for (kind, name), other in self.scripts.items() if other.entries]
        how = f'self.invokes({call.name!r})' if call.kind == SERVICE else f'self.outgoing.{call.kind}[{call.name!r}]'
        return f'Scripted are: {", ".join(others) or "none"}. Say what it gives with {how}.answers(…).'

    def unused(self) -> list[str]:
        """What was scripted and never asked for."""
        return [line for script in self.scripts.values() for line in script.unused()]
