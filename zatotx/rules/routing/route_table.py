"""Finds the route of a request in an immutable table. A configuration change replaces the table. Pure
functions.

Paths without placeholders are found by one dictionary lookup. Patterns form a trie of segments whose edges are hashed
by their literal text, so that the cost of a lookup depends on the path and the depth of its matches, not on the number
of routes.

Among the routes that match path and method, the order is: the exact path before patterns; then the longest literal text
before the first placeholder; then a specific method (GET also serves HEAD) before any method; then the most literal
pattern.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from zatotx.rules.routing.route_pattern import Placeholder, RoutePattern, parse_pattern
from zatotx.wire.http.urlencoded import decode_segment

ANY = ''
NO_PARAMS: Mapping[str, str] = MappingProxyType({})


class Route(msgspec.Struct, frozen=True):
    """One route: a method, a pattern and a target. `target` is an arbitrary object, which belongs to the owner of the
    table."""

    pattern: str
    method: str  # ANY, or a method in any case
    target: Any
    match_slash: bool = False  # {name} may match slashes like {name:path}


class MatchedRoute(msgspec.Struct, frozen=True):
    """The route that matches a request, and the captured path parameters, percent-decoded."""

    target: Any
    params: Mapping[str, str] = NO_PARAMS


class MethodNotRouted(msgspec.Struct, frozen=True):
    """The path exists, but not with the method of the request. `allow` lists the methods for the Allow field,
    sorted."""

    allow: tuple[str, ...]


class InvalidRoutes(ValueError):  # noqa: N818 - named for the condition
    """A list of routes is invalid. `errors` contains one sentence for each error."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = tuple(errors)
        super().__init__('; '.join(self.errors))


class _Leaf(msgspec.Struct, frozen=True):
    """The end of a pattern in the trie."""

    target: Any
    names: tuple[str, ...]
    literal: int  # characters before the first placeholder


class _Node:
    """A node of the trie."""

    __slots__ = ('leaves', 'literals', 'plain', 'shaped', 'spanning')

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        # placeholders with literal text around or between, by descending length of their prefix
        self.shaped: list[_Edges] = []
        self.plain: _Node | None = None  # {name}
        self.spanning: list[_Edges] = []  # spanning placeholders without a prefix
        self.leaves: dict[str, _Leaf] = {}  # by method

    def child(self, segment: str | Placeholder) -> _Node:
        """Return the child node for a segment; create it if necessary."""
        if isinstance(segment, str):
            return self.literals.setdefault(segment, _Node())
        if segment.is_plain:
            self.plain = self.plain or _Node()
            return self.plain
        edges = self.spanning if segment.spans_segments and not segment.prefix else self.shaped
        return _find_or_add_edges(edges, segment).child(segment)


class _Edges:
    """The placeholders of a node whose prefixes and suffixes have the same lengths, hashed by both."""

    __slots__ = ('prefix', 'spans', 'suffix', 'table')

    def __init__(self, prefix: int, suffix: int, spans: bool) -> None:
        self.prefix = prefix
        self.suffix = suffix
        self.spans = spans
        self.table: dict[tuple[str, str], list[tuple[Placeholder, _Node]]] = {}

    def child(self, placeholder: Placeholder) -> _Node:
        edges = self.table.setdefault((placeholder.prefix, placeholder.suffix), [])
        for existing, node in edges:
            if existing == placeholder:
                return node
        edges.append((placeholder, _Node()))
        child = edges[-1][1]
        edges.sort(key=lambda edge: -len(''.join(edge[0].separators)))
        return child

    def between(self, first: str, last: str) -> list[tuple[Placeholder, _Node]]:
        """Return the placeholders whose prefix starts `first` and whose suffix ends `last`."""
        ending = last[len(last) - self.suffix :] if len(last) > self.suffix else last
        return self.table.get((first[: self.prefix], ending), _NO_EDGES)


_NO_EDGES: list[tuple[Placeholder, _Node]] = []
# Captured values: text, or (edges, first segment, last segment) of a spanning placeholder, joined only for the final
# match.
_Span = tuple[_Edges, int, int]
_Values = tuple[str | _Span, ...]


def _find_or_add_edges(edges: list[_Edges], placeholder: Placeholder) -> _Edges:
    shape = len(placeholder.prefix), len(placeholder.suffix), placeholder.spans_segments
    for existing in edges:
        if (existing.prefix, existing.suffix, existing.spans) == shape:
            return existing
    created = _Edges(*shape)
    edges.append(created)
    edges.sort(key=lambda e: (-e.prefix, e.spans, -e.suffix))
    return created


class RouteTable:
    """An immutable table of all routes of a node."""

    __slots__ = ('_exact', '_root')

    def __init__(self, exact: dict[bytes, dict[str, MatchedRoute]], root: _Node) -> None:
        self._exact = exact  # by the UTF-8 encoded path, then by method
        self._root = root

    @classmethod
    def build(cls, routes: Iterable[Route]) -> RouteTable:
        """Build the table of routes in any order. Raises InvalidRoutes with all errors: invalid patterns, and two
        routes that match the same paths with the same method, regardless of parameter names."""
        exact: dict[bytes, dict[str, MatchedRoute]] = {}
        root = _Node()
        errors: list[str] = []
        for route in routes:
            pattern, problems = parse_pattern(route.pattern, match_slash=route.match_slash)
            errors += [f'The path {route.pattern!r} is no pattern: {phrase}' for phrase in problems]
            if not problems and not _add_route(exact, root, route, pattern):
                errors.append(f'The path {route.pattern!r} with {route.method or "any method"} is there twice')
        if errors:
            raise InvalidRoutes(errors)
        _serve_head_by_get(exact, root)
        return cls(exact, root)

    def find(self, method: str, path: bytes) -> MatchedRoute | MethodNotRouted | None:
        """Return the route of a request by its raw, percent-encoded path: an encoded slash is text within its segment.
        Returns None if the path does not exist. Raises Malformed if the path is not valid UTF-8 text."""
        if b'%' in path:
            segments = [decode_segment(segment) for segment in path[1:].split(b'/')]
            has_slash = any('/' in segment for segment in segments)
            matches = self._exact.get(b'' if has_slash else ('/' + '/'.join(segments)).encode('utf-8'))
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
    """One search through the trie, from the most to the least literal match."""

    __slots__ = ('_allow', '_best', '_method', '_segments', '_spanned', '_values')

    def __init__(self, method: str, segments: list[str], allow: Iterable[str]) -> None:
        self._method = method
        self._segments = segments
        self._allow = set(allow)
        self._best: _Leaf | None = None
        self._values: _Values = ()
        self._spanned: set[tuple[_Edges, str]] | None = None

    def match(self, root: _Node) -> MatchedRoute | MethodNotRouted | None:
        self._walk(root, 0, ())
        best = self._best
        if best is not None:
            return MatchedRoute(best.target, dict(zip(best.names, map(self._text, self._values), strict=True)))
        return MethodNotRouted(tuple(sorted(self._allow))) if self._allow else None

    def _text(self, value: str | _Span) -> str:
        if isinstance(value, str):
            return value
        edges, start, end = value
        text = '/'.join(self._segments[start : end + 1])
        return text[edges.prefix : len(text) - edges.suffix]

    def _walk(self, node: _Node, index: int, values: _Values) -> bool:
        """Search below `node` from segment `at`. Returns True if no better match is possible."""
        if index == len(self._segments):
            return bool(node.leaves) and self._consider(node.leaves, values)
        segment = self._segments[index]
        literal = node.literals.get(segment)
        if literal is not None and self._walk(literal, index + 1, values):
            return True
        for edges in node.shaped:
            if self._walk_edges(edges, index, values):
                return True
        if node.plain is not None and segment and self._walk(node.plain, index + 1, (*values, segment)):
            return True
        return any(self._walk_spanning(edges, index, values) for edges in node.spanning)

    def _walk_edges(self, edges: _Edges, index: int, values: _Values) -> bool:
        if edges.spans:
            return self._walk_spanning(edges, index, values)
        segment = self._segments[index]
        for placeholder, child in edges.between(segment, segment):
            captured = placeholder.match(segment)
            if captured is not None and self._walk(child, index + 1, values + captured):
                return True
        return False

    def _walk_spanning(self, edges: _Edges, index: int, values: _Values) -> bool:
        """Try all ends of a spanning placeholder, the nearest first. If the same placeholder was tried from an earlier
        start, all these ends failed already; skipping them keeps the cost linear in the length of the path."""
        segments = self._segments
        first = segments[index]
        start = edges, first[: edges.prefix]
        if self._spanned is None:
            self._spanned = set()
        if start in self._spanned:
            return False
        self._spanned.add(start)
        nearest = index if len(first) > edges.prefix + edges.suffix else index + 1  # captured values are not empty
        for end in range(nearest, len(segments)):
            for _, child in edges.between(first, segments[end]):
                if self._walk(child, end + 1, (*values, (edges, index, end))):
                    return True
        return False

    def _consider(self, leaves: dict[str, _Leaf], values: _Values) -> bool:
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


def _add_route(exact: dict[bytes, dict[str, MatchedRoute]], root: _Node, route: Route, pattern: RoutePattern) -> bool:
    """Add a route. Returns False if an equivalent one exists."""
    method = route.method.upper()
    if not pattern.names:
        matches = exact.setdefault(route.pattern.encode('utf-8'), {})
        return matches.setdefault(method, match := MatchedRoute(route.target)) is match
    node = root
    for segment in pattern.segments:
        node = node.child(segment)
    leaf = _Leaf(route.target, pattern.names, pattern.literal_length)
    return node.leaves.setdefault(method, leaf) is leaf


def _serve_head_by_get(exact: dict[bytes, dict[str, MatchedRoute]], root: _Node) -> None:
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
            nodes += [child for edges_by_affixes in edges.table.values() for _, child in edges_by_affixes]
