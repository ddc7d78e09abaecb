"""Properties of routing: the table finds the same route as examining every route."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from zatotx.rules.routing.route_table import ANY, InvalidRoutes, MatchedRoute, MethodNotRouted, Route, RouteTable
from zatotx.wire.malformed import Malformed

METHODS = ('GET', 'POST', 'HEAD', 'DELETE')
LITERAL = st.sampled_from(['', 'a', 'b', 'ab', 'a.b', 'é'])
HOLES = st.sampled_from(['{x}', '{y}', '{z:path}', 'a{x}', '{x}b', 'a{z:path}', '{z:path}b', '{x}.{y}', 'a{x}-{y}b'])
PATTERN = st.lists(LITERAL | HOLES, min_size=1, max_size=4).map(lambda segments: '/' + '/'.join(segments))
ROUTE = st.builds(lambda pattern, method, slash: Route(pattern, method, (pattern, method), slash), PATTERN,
                  st.sampled_from([ANY, 'GET', 'POST', 'HEAD', 'get']), st.booleans())  # fmt: skip
PATH = st.lists(st.sampled_from(['', 'a', 'b', 'ab', 'a.b', 'é', 'aab', 'a-b', 'ab-ab', 'x']), min_size=1, max_size=5)


class Seen(NamedTuple):
    """A route as examined individually."""

    route: Route
    expression: re.Pattern[str]
    exact: bool
    literal: int

    def serves(self, method: str) -> bool:
        own = self.route.method.upper()
        return own in (ANY, method) or (own, method) == ('GET', 'HEAD')

    def rank(self, method: str) -> tuple[bool, int, bool]:
        """The sort key, best first: exact, then the longest literal prefix, then a specific method."""
        return not self.exact, -self.literal, self.route.method == ANY


def seen(route: Route) -> Seen:
    text, at = '', 0
    for hole in re.finditer(r'\{(\w+)(:path)?\}', route.pattern):
        start = route.pattern.rfind('/', 0, hole.start())
        end = (route.pattern + '/').find('/', hole.end())
        alone = route.pattern[start:end].count('{') == 1
        spans = hole[2] or (route.match_slash and alone)
        text += re.escape(route.pattern[at : hole.start()]) + f'(?P<{hole[1]}>{".+" if spans else "[^/]+"})'
        at = hole.end()
    text += re.escape(route.pattern[at:])
    return Seen(route, re.compile(text, re.DOTALL), '{' not in route.pattern, len(route.pattern.partition('{')[0]))


def tables(routes: list[Route]) -> tuple[RouteTable, list[Route]]:
    """Generates tables of compatible routes, with the routes in order."""
    taken: list[Route] = []
    table = RouteTable.build([])
    for route in routes:
        try:
            table = RouteTable.build([*taken, route])
        except InvalidRoutes:
            continue
        taken.append(route)
    return table, taken


class RoutingTests(SynchronousTestCase):
    @holds(300, routes=st.lists(ROUTE, max_size=8), path=PATH, method=st.sampled_from(METHODS), escaped=st.booleans())
    def test_as_looking_at_each(self, routes: list[Route], path: list[str], method: str, escaped: bool) -> None:
        """The route, its captured values, and the allowed methods if none matches, follow the contract."""
        table, taken = tables(routes)
        text = '/' + '/'.join(path)
        raw = quote(text, safe='/').encode() if escaped else text.encode()
        found = table.find(method, raw)
        fitting = [each for each in map(seen, taken) if each.expression.fullmatch(text)]
        serving = [each for each in fitting if each.serves(method)]
        if not serving:
            methods = {each.route.method.upper() for each in fitting}
            allowed = tuple(sorted(methods | ({'HEAD'} if 'GET' in methods else set())))
            self.assertEqual(found, MethodNotRouted(allowed) if fitting else None)
            return
        best = min(each.rank(method) for each in serving)
        assert isinstance(found, MatchedRoute)
        winners = {each.route.target: each for each in serving if each.rank(method) == best}
        self.assertIn(found.target, winners)
        self.check_values(winners[found.target], found, text)

    def check_values(self, winner: Seen, found: MatchedRoute, text: str) -> None:
        """Checks that inserting the captured values into the pattern gives the path."""
        pattern = winner.route.pattern
        filled = re.sub(r'\{(\w+)(:path)?\}', lambda hole: found.params[hole[1]], pattern)
        self.assertEqual(filled, text)
        self.assertTrue(all(found.params.values()))
        self.assertEqual(set(found.params), set(winner.expression.groupindex))

    @holds(routes=st.lists(ROUTE, max_size=6), path=st.binary(max_size=20), method=st.sampled_from(METHODS))
    def test_any_path(self, routes: list[Route], path: bytes, method: str) -> None:
        """Any path is found, not found, or rejected as invalid text."""
        table, _ = tables(routes)
        try:
            found = table.find(method, b'/' + path)
        except Malformed:
            return
        self.assertIsInstance(found, MatchedRoute | MethodNotRouted | None)

    @holds(texts=st.lists(st.text('/{}:path.-aé?#', max_size=12), max_size=5))
    def test_any_pattern(self, texts: list[str]) -> None:
        """Any pattern is a route, or is rejected in one line that names it."""
        try:
            RouteTable.build(Route(text, ANY, text) for text in texts)
        except InvalidRoutes as wrong:
            for said in wrong.errors:
                self.assertEqual(len(said.splitlines()), 1)
                self.assertTrue(any(repr(text) in said for text in texts), said)
