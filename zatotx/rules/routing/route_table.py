"""Which route a request takes: an immutable table, built beside and swapped whole. Pure.

Paths without a hole are one dictionary hit. Patterns form a trie of segments whose edges are found by hashing their
literal text, so that a lookup costs what the path and the depth of its matches cost, however many routes there are.

Of the routes that match path and method, the one taken is: the exact path before patterns; then the longest literal
text before the first hole; then one for the method (HEAD is served by GET) before one for any; then the most literal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from zatotx.rules.routing.route_pattern import Placeholder, RoutePattern, parse_pattern
from zatotx.wire.http.percent_encoding import decode_segment

ANY = ''
NO_PARAMS: Mapping[str, str] = MappingProxyType({})


class Route(msgspec.Struct, frozen=True):
    """One route. `target` is whatever the table's owner wants back."""

    pattern: str
    method: str  # ANY, or one in any case
    target: Any
    match_slash: bool = False  # {name} may match slashes as {name:path} does


class Match(msgspec.Struct, frozen=True):
    """The route that a request takes, and what its pattern captured, percent-decoded."""

    target: Any
    params: Mapping[str, str] = NO_PARAMS


class MethodNotRouted(msgspec.Struct, frozen=True):
    """The path exists, but not with this method: 405 with these methods, sorted, in Allow."""

    allow: tuple[str, ...]


class BadRoutes(ValueError):  # noqa: N818 - what they are
    """Everything that is wrong with a list of routes, a sentence each in `mistakes`."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__('; '.join(self.mistakes))


class _Leaf(msgspec.Struct, frozen=True):
    """Where a pattern ends."""

    target: Any
    names: tuple[str, ...]
    literal: int  # characters before the first hole


class _Node:
    """A place in the trie."""

    __slots__ = ('leaves', 'literals', 'plain', 'shaped', 'spanning')

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.shaped: list[_Edges] = []  # holes with literal text around or between, by falling length of their prefix
        self.plain: _Node | None = None  # {name}
        self.spanning: list[_Edges] = []  # holes that span and have no prefix
        self.leaves: dict[str, _Leaf] = {}  # by method

    def child(self, segment: str | Placeholder) -> _Node:
        """The place one segment on, made where it is not there yet."""
        if isinstance(segment, str):
            return self.literals.setdefault(segment, _Node())
        if segment.plain:
            self.plain = self.plain or _Node()
            return self.plain
        edges = self.spanning if segment.spans and not segment.prefix else self.shaped
        return _edges_like(edges, segment).child(segment)


class _Edges:
    """The holes of a place whose prefixes and suffixes have the same lengths, found by hashing both."""

    __slots__ = ('prefix', 'spans', 'suffix', 'table')

    def __init__(self, prefix: int, suffix: int, spans: bool) -> None:
        self.prefix = prefix
        self.suffix = suffix
        self.spans = spans
        self.table: dict[tuple[str, str], list[tuple[Placeholder, _Node]]] = {}

    def child(self, hole: Placeholder) -> _Node:
        edges = self.table.setdefault((hole.prefix, hole.suffix), [])
        for known, node in edges:
            if known == hole:
                return node
        edges.append((hole, _Node()))
        child = edges[-1][1]
        edges.sort(key=lambda edge: -len(''.join(edge[0].middles)))
        return child

    def between(self, first: str, last: str) -> list[tuple[Placeholder, _Node]]:
        """The holes whose prefix begins `first` and whose suffix ends `last`."""
        ending = last[len(last) - self.suffix :] if len(last) > self.suffix else last
        return self.table.get((first[: self.prefix], ending), _NO_EDGES)


_NO_EDGES: list[tuple[Placeholder, _Node]] = []
# Captured values: text, or the (edges, first segment, last segment) of a hole that spans, joined only when it is taken.
_Span = tuple[_Edges, int, int]
_Values = tuple[str | _Span, ...]


def _edges_like(edges: list[_Edges], hole: Placeholder) -> _Edges:
    wanted = len(hole.prefix), len(hole.suffix), hole.spans
    for known in edges:
        if (known.prefix, known.suffix, known.spans) == wanted:
            return known
    made = _Edges(*wanted)
    edges.append(made)
    edges.sort(key=lambda e: (-e.prefix, e.spans, -e.suffix))
    return made


class RouteTable:
    """All routes of a node at one moment."""

    __slots__ = ('_exact', '_root')

    def __init__(self, exact: dict[bytes, dict[str, Match]], root: _Node) -> None:
        self._exact = exact  # by the UTF-8 of the path, then by method
        self._root = root

    @classmethod
    def build(cls, routes: Iterable[Route]) -> RouteTable:
        """The table of these routes, in any order. Raises BadRoutes with all mistakes: patterns that are none, and two
        routes that match the same paths with the same method, whatever their names are called."""
        exact: dict[bytes, dict[str, Match]] = {}
        root = _Node()
        mistakes: list[str] = []
        for route in routes:
            pattern, wrong = parse_pattern(route.pattern, match_slash=route.match_slash)
            mistakes += [f'The path {route.pattern!r} is no pattern: {phrase}' for phrase in wrong]
            if not wrong and not _add(exact, root, route, pattern):
                mistakes.append(f'The path {route.pattern!r} with {route.method or "any method"} is there twice')
        if mistakes:
            raise BadRoutes(mistakes)
        _serve_head_by_get(exact, root)
        return cls(exact, root)

    def find(self, method: str, path: bytes) -> Match | MethodNotRouted | None:
        """The route of a request by its raw path, percent-encoded as it was sent: an encoded slash is text within its
        segment. None where there is no such path. Raises `wire.target.Malformed` where the path is no text."""
        if b'%' in path:
            segments = [decode_segment(segment) for segment in path[1:].split(b'/')]
            whole = b'' if any('/' in segment for segment in segments) else ('/' + '/'.join(segments)).encode('utf-8')
            matches = self._exact.get(whole)
        else:
            segments = None
            matches = self._exact.get(path)
        if matches is not None:
            match = matches.get(method) or matches.get(ANY)
            if match is not None:
                return match
        if not path.startswith(b'/'):  # `OPTIONS *`, CONNECT
            return None
        if segments is None:
            segments = decode_segment(path[1:]).split('/')
        return _Search(method, segments, matches or ()).match(self._root)


class _Search:
    """One walk through the trie, from the most to the least literal match."""

    __slots__ = ('_allow', '_best', '_method', '_segments', '_spanned', '_values')

    def __init__(self, method: str, segments: list[str], allow: Iterable[str]) -> None:
        self._method = method
        self._segments = segments
        self._allow = set(allow)
        self._best: _Leaf | None = None
        self._values: _Values = ()
        self._spanned: set[tuple[_Edges, str]] | None = None

    def match(self, root: _Node) -> Match | MethodNotRouted | None:
        self._walk(root, 0, ())
        best = self._best
        if best is not None:
            return Match(best.target, dict(zip(best.names, map(self._text, self._values), strict=True)))
        return MethodNotRouted(tuple(sorted(self._allow))) if self._allow else None

    def _text(self, value: str | _Span) -> str:
        if isinstance(value, str):
            return value
        edges, start, end = value
        text = '/'.join(self._segments[start : end + 1])
        return text[edges.prefix : len(text) - edges.suffix]

    def _walk(self, node: _Node, at: int, values: _Values) -> bool:
        """Look on from `node` at segment `at`. True = nothing better is to be found."""
        if at == len(self._segments):
            return bool(node.leaves) and self._arrive(node.leaves, values)
        segment = self._segments[at]
        literal = node.literals.get(segment)
        if literal is not None and self._walk(literal, at + 1, values):
            return True
        for edges in node.shaped:
            if self._through(edges, at, values):
                return True
        if node.plain is not None and segment and self._walk(node.plain, at + 1, (*values, segment)):
            return True
        return any(self._span(edges, at, values) for edges in node.spanning)

    def _through(self, edges: _Edges, at: int, values: _Values) -> bool:
        if edges.spans:
            return self._span(edges, at, values)
        segment = self._segments[at]
        for hole, child in edges.between(segment, segment):
            captured = hole.values(segment)
            if captured is not None and self._walk(child, at + 1, values + captured):
                return True
        return False

    def _span(self, edges: _Edges, at: int, values: _Values) -> bool:
        """Try every end of a hole that spans, the nearest first. Where the same hole was tried from an earlier start
        all these ends were in vain, which keeps the cost linear in the length of the path."""
        segments = self._segments
        first = segments[at]
        start = edges, first[: edges.prefix]
        if self._spanned is None:
            self._spanned = set()
        if start in self._spanned:
            return False
        self._spanned.add(start)
        nearest = at if len(first) > edges.prefix + edges.suffix else at + 1  # no hole is empty
        for end in range(nearest, len(segments)):
            for _, child in edges.between(first, segments[end]):
                if self._walk(child, end + 1, (*values, (edges, at, end))):
                    return True
        return False

    def _arrive(self, leaves: dict[str, _Leaf], values: _Values) -> bool:
        best = self._best
        leaf = leaves.get(self._method)
        if leaf is None:
            leaf = leaves.get(ANY)
            if leaf is None:
                self._allow.update(leaves)
                return False
            if best is None:  # the best for any method; one for this method may follow
                self._best, self._values = leaf, values
                return False
            return leaf.literal < best.literal
        if best is None or leaf.literal == best.literal:
            self._best, self._values = leaf, values
        return True


def _add(exact: dict[bytes, dict[str, Match]], root: _Node, route: Route, pattern: RoutePattern) -> bool:
    """Put a route in its place. False where the place is taken."""
    method = route.method.upper()
    if not pattern.names:
        matches = exact.setdefault(route.pattern.encode('utf-8'), {})
        return matches.setdefault(method, made := Match(route.target)) is made
    node = root
    for segment in pattern.segments:
        node = node.child(segment)
    leaf = _Leaf(route.target, pattern.names, pattern.literal)
    return node.leaves.setdefault(method, leaf) is leaf


def _serve_head_by_get(exact: dict[bytes, dict[str, Match]], root: _Node) -> None:
    for matches in exact.values():
        if 'GET' in matches:
            matches.setdefault('HEAD', matches['GET'])
    nodes = [root]
    while nodes:
        node = nodes.pop()
        if 'GET' in node.leaves:
            node.leaves.setdefault('HEAD', node.leaves['GET'])
        nodes += node.literals.values()
        nodes += [node.plain] if node.plain is not None else []
        for edges in (*node.shaped, *node.spanning):
            nodes += [child for held in edges.table.values() for _, child in held]
