"""Tests of the route table: precedence, placeholders, methods, errors, and lookup cost independent of its size."""

from __future__ import annotations

import re
from functools import partial
from itertools import product
from timeit import repeat, timeit

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from zatotx.rules.routing.route_pattern import Placeholder, parse_pattern
from zatotx.rules.routing.route_table import (
    ANY,
    NO_PARAMS,
    InvalidRoutes,
    MatchedRoute,
    MethodNotRouted,
    Route,
    RouteTable,
)
from zatotx.wire.malformed import Malformed


def table(*patterns: str | tuple[str, str], match_slash: bool = False) -> RouteTable:
    """Returns a table of patterns for any method, or of (method, pattern); each target is its pattern."""
    pairs = [(ANY, pattern) if isinstance(pattern, str) else pattern for pattern in patterns]
    return RouteTable.build([Route(pattern, method, pattern, match_slash) for method, pattern in pairs])


class Case(SynchronousTestCase):
    def goes(self, routes: RouteTable, path: bytes, target: str, method: str = 'GET', **params: str) -> None:
        found = routes.find(method, path)
        assert isinstance(found, MatchedRoute), (path, found)
        self.assertEqual((found.target, dict(found.params)), (target, params), path)

    def nowhere(self, routes: RouteTable, *paths: bytes) -> None:
        for path in paths:
            self.assertIsNone(routes.find('GET', path), path)


class PathTests(Case):
    def test_exact(self) -> None:
        """A path without placeholders matches exactly, including case and trailing slash, and allocates nothing."""
        routes = table('/', '/a/b', '/a/b/', '/a//b')
        for path in ('/', '/a/b', '/a/b/', '/a//b'):
            self.goes(routes, path.encode(), path)
        self.nowhere(routes, b'/a', b'/A/b', b'/a/b/c', b'', b'*', b'a/b', b'//', b'/a/b//')
        self.assertIs(routes.find('GET', b'/a/b'), routes.find('PUT', b'/a/b'))
        found = routes.find('GET', b'/')
        assert isinstance(found, MatchedRoute)
        self.assertIs(found.params, NO_PARAMS)

    def test_one_segment(self) -> None:
        """{name} matches one non-empty segment."""
        routes = table('/a/{x}', '/a/{x}/c/{y}')
        self.goes(routes, b'/a/b', '/a/{x}', x='b')
        self.goes(routes, b'/a/b/c/d', '/a/{x}/c/{y}', x='b', y='d')
        self.nowhere(routes, b'/a/', b'/a/b/', b'/a/b/d', b'/a//c/d', b'/a/b/c/', b'/b/a', b'/')

    def test_only_paths_have_segments(self) -> None:
        """Targets other than paths, as of CONNECT and `OPTIONS *`, match no pattern."""
        self.nowhere(table('/{x}', '/{x:path}/y'), b'*', b'a.example:443', b'')

    def test_text_around_holes(self) -> None:
        """Literal text may surround and separate placeholders; all values but the last are as short as possible."""
        routes = table('/f/{name}.json', '/v{major}.{minor}', '/d/{a}-{b}-end', '/t/pre{x}')
        self.goes(routes, b'/f/a.b.json', '/f/{name}.json', name='a.b')
        self.goes(routes, b'/v1.2.3', '/v{major}.{minor}', major='1', minor='2.3')
        self.goes(routes, b'/d/1-2-3-end', '/d/{a}-{b}-end', a='1', b='2-3')
        self.goes(routes, b'/t/prefix', '/t/pre{x}', x='fix')
        self.nowhere(routes, b'/f/.json', b'/f/a.xml', b'/v1', b'/v.1', b'/v1.', b'/d/1-2', b'/d/-2-end', b'/d/1--end',
                     b'/t/pre', b'/t/pr', b'/f/on')

    def test_the_rest_of_a_path(self) -> None:
        """{name:path} matches across slashes, at least one character, and may be followed by more."""
        routes = table('/tree/{rest:path}', '/z/{p:path}/meta/{id}', '/g/at-{p:path}.git')
        self.goes(routes, b'/tree/a', '/tree/{rest:path}', rest='a')
        self.goes(routes, b'/tree/a/b//c/', '/tree/{rest:path}', rest='a/b//c/')
        self.goes(routes, b'/z/a/meta/b/meta/1', '/z/{p:path}/meta/{id}', p='a/meta/b', id='1')
        self.goes(routes, b'/g/at-a.git/b.git', '/g/at-{p:path}.git', p='a.git/b')
        self.nowhere(routes, b'/tree/', b'/tree', b'/z/meta/1', b'/z/a/meta/', b'/g/at-.git',
                     b'/g/at.git', b'/g/at-a.gi')

    def test_match_slash(self) -> None:
        """With match_slash every {name} matches across slashes; it is off by default."""
        self.assertIsNone(RouteTable.build([Route('/a/{x}', ANY, None)]).find('GET', b'/a/1/2'))
        routes = table('/a/{x}', '/b/{x}/c/{y}', match_slash=True)
        self.goes(routes, b'/a/1/2/3', '/a/{x}', x='1/2/3')
        self.goes(routes, b'/b/1/2/c/3/4', '/b/{x}/c/{y}', x='1/2', y='3/4')
        self.nowhere(routes, b'/a/', b'/b/c/1')

    def test_percent_encoding(self) -> None:
        """Paths match decoded; an encoded slash is text within its segment; captured values are text."""
        routes = table('/café/menu', '/{x}/z', '/p/{y}', '/a/b')
        self.goes(routes, b'/caf%C3%a9/m%65nu', '/café/menu')
        self.goes(routes, b'/%61/%62', '/a/b')
        self.goes(routes, b'/p/1%2F2%20%C3%A9+', '/p/{y}', y='1/2 é+')
        self.goes(routes, b'/a%2Fb/z', '/{x}/z', x='a/b')
        self.goes(routes, b'/%2525/z', '/{x}/z', x='%25')
        self.nowhere(routes, b'/a%2Fb', b'/caf%C3%A9%2Fmenu')
        for path in (b'/p/%ff', b'/p/\xff', b'/%00/z', b'/p/%zz'):
            self.assertRaises(Malformed, routes.find, 'GET', path)


class PrecedenceTests(Case):
    def test_exact_beats_pattern(self) -> None:
        """An exact path for any method takes precedence over a pattern for the specific method."""
        self.goes(table('/a/b', ('GET', '/a/{x}')), b'/a/b', '/a/b')

    def test_the_longest_literal_prefix_wins(self) -> None:
        """Among patterns, the one with the longer text before its first placeholder takes precedence."""
        routes = table('/{x}/b/c', '/a/{y}/c', '/a/b{z}/{w}', '/a/bb{p:path}')
        self.goes(routes, b'/a/x/c', '/a/{y}/c', y='x')
        self.goes(routes, b'/z/b/c', '/{x}/b/c', x='z')
        self.goes(routes, b'/a/b1/c', '/a/b{z}/{w}', z='1', w='c')
        self.goes(routes, b'/a/bb1/c', '/a/bb{p:path}', p='1/c')
        self.goes(routes, b'/a/b/c', '/a/{y}/c', y='b')

    def test_the_method_decides_next(self) -> None:
        """With the same literal prefix, a route for the specific method takes precedence over a more literal one for
        any method."""
        routes = table('/a/{x}.json', ('GET', '/a/{x}'), '/a/b{x}', ('PUT', '/a/{x}'))
        self.goes(routes, b'/a/c.json', '/a/{x}', x='c.json')
        self.goes(routes, b'/a/c.json', '/a/{x}.json', 'POST', x='c')
        self.goes(routes, b'/a/b1', '/a/b{x}', x='1')

    def test_more_literal_text_decides_last(self) -> None:
        """Otherwise more literal text takes precedence, and one segment over many."""
        routes = table('/a/{x}', '/a/{x}.json', '/a/{x}-{y}.json', '/a/{x:path}', '/a/{x}/b', '/a/{x}/{y}')
        self.goes(routes, b'/a/c', '/a/{x}', x='c')
        self.goes(routes, b'/a/c.json', '/a/{x}.json', x='c')
        self.goes(routes, b'/a/c/b', '/a/{x}/b', x='c')
        self.goes(routes, b'/a/c/d', '/a/{x}/{y}', x='c', y='d')
        self.goes(routes, b'/a/c/d/e', '/a/{x:path}', x='c/d/e')

    def test_of_holes_at_one_place(self) -> None:
        """The longer prefix takes precedence, then one segment over many, then the longer suffix, then more text
        between, in any order of definition."""
        for path, better, worse in (
            (b'/abcd', '/ab{x}', '/a{x}'), (b'/abcd', '/ab{x:path}', '/a{x}'), (b'/ab', '/a{x}', '/a{x:path}'),
            (b'/a1.json', '/a{x}.json', '/a{x}n'), (b'/a1.json', '/a{x}n', '/a{x:path}.json'),
            (b'/a1-2-3', '/a{x}-2-{y}', '/a{x}-{y}'), (b'/1-2-3.j', '/{x}-2-{y}.j', '/{x}-{y}.j'),
            (b'/x/1.json', '/x/{p:path}.json', '/x/{p:path}'), (b'/x/1.json', '/x/{p:path}.json', '/x/{p:path}n'),
        ):
            for pairs, method in product(((better, worse), (worse, better)), (ANY, 'GET')):
                found = table(*((method, pattern) for pattern in pairs)).find('GET', path)
                assert isinstance(found, MatchedRoute)
                self.assertEqual(found.target, better, path)

    def test_the_order_of_routes_decides_nothing(self) -> None:
        """The order of definition does not matter."""
        patterns = ['/a/{x}', '/a/b{x}', '/{x}/b', '/a/{x:path}', '/a/b']
        paths = [b'/a/b', b'/a/bc', b'/a/c', b'/z/b', b'/a/b/c']
        turned = [table(*patterns[turn:], *patterns[:turn]) for turn in range(len(patterns))]
        self.assertEqual(len({tuple(str(routes.find('GET', path)) for path in paths) for routes in turned}), 1)


class MethodTests(Case):
    def test_missing(self) -> None:
        """A path that exists with other methods only is MethodNotRouted with all of them, including HEAD if there is
        GET."""
        routes = table(('GET', '/a'), ('PUT', '/a'), ('POST', '/b/{x}'), ('DELETE', '/b/{x:path}'), ('PATCH', '/b/c'))
        self.assertEqual(routes.find('POST', b'/a'), MethodNotRouted(('GET', 'HEAD', 'PUT')))
        self.assertEqual(routes.find('GET', b'/b/c'), MethodNotRouted(('DELETE', 'PATCH', 'POST')))
        self.assertEqual(routes.find('OPTIONS', b'/b/d/e'), MethodNotRouted(('DELETE',)))
        self.assertIsNone(routes.find('POST', b'/c'))

    def test_a_pattern_serves_where_the_exact_path_has_other_methods(self) -> None:
        """An exact path hides patterns for its own methods only."""
        routes = table(('POST', '/a/b'), ('GET', '/a/{x}'))
        self.goes(routes, b'/a/b', '/a/{x}', x='b')
        self.goes(routes, b'/a/b', '/a/b', 'POST')

    def test_head(self) -> None:
        """GET serves HEAD unless there is a route for it."""
        routes = table(('GET', '/a'), ('GET', '/b/{x}'), ('HEAD', '/c/{x}'), ('GET', '/c/{x}'), '/a', '/b/{x}')
        self.goes(routes, b'/a', '/a', 'HEAD')
        self.goes(routes, b'/b/1', '/b/{x}', 'HEAD', x='1')
        own = RouteTable.build([Route('/a', 'GET', 1), Route('/a', 'HEAD', 2), Route('/a', ANY, 3)])
        self.assertEqual([getattr(own.find(m, b'/a'), 'target', None) for m in ('GET', 'HEAD', 'PUT')], [1, 2, 3])

    def test_methods_in_any_case(self) -> None:
        """A route may have its method in lower case."""
        self.goes(table(('post', '/a')), b'/a', '/a', 'POST')


class MistakeTests(Case):
    def errors(self, *patterns: str | tuple[str, str]) -> tuple[str, ...]:
        mistakes: tuple[str, ...] = self.assertRaises(InvalidRoutes, table, *patterns).errors
        return mistakes

    def test_all_at_once(self) -> None:
        """All errors of all routes are reported, each in a sentence with the pattern."""
        bad = ['a', '/{x}/{x}', '/{x', '/x}', '/{{x}}', '/{x:int}', '/{}', '/{1x}', '/{a}{b}', '/p?x', '/p#x',
               '/{a}-{b:path}', '', '/' + '/'.join('a' * 101)]
        mistakes = self.errors('/good', *bad)
        for pattern in bad:
            self.assertTrue(any(repr(pattern) in mistake for mistake in mistakes), pattern)
        self.assertFalse(any('/good' in mistake for mistake in mistakes))
        self.assertEqual(len(self.errors('/{a}{a}?')), 3)

    def test_reasons(self) -> None:
        """Each error has its phrase."""
        name = 'needs a name of letters, digits, _, - and ., beginning with a letter or _'
        for path, why in (
            ('a', ['it must begin with /']), ('/a?b', ['it must be a path, without ? and #']),
            ('/a#b', ['it must be a path, without ? and #']),
            ('/' + '/'.join('a' * 101), ['it has more than 100 segments']),
            ('/{x', ["the braces of '{x' are not in pairs"]), ('/x}', ["the braces of 'x}' are not in pairs"]),
            ('/{1}', [f'{{1}} {name}']), ('/{a b}', [f'{{a b}} {name}']),
            ('/{x:int}', ['{x:int} must be {x} or {x:path}']), ('/{x:}', ['{x:} must be {x} or {x:path}']),
            ('/{a}{b}', ["two names of '{a}{b}' need literal text between them"]),
            ('/{a}-{b:path}', ["{\u2026:path} must be the only name of its segment, unlike in '{a}-{b:path}'"]),
            ('/{a}/{b}/{a}/{a}', ['{a} stands twice']),
        ):  # fmt: skip
            self.assertEqual(parse_pattern(path)[1], why)
            (said, *_) = self.errors(path)
            self.assertEqual(said, f'The path {path!r} is no pattern: {why[0]}')
        self.assertEqual(self.errors(('get', '/b'), ('GET', '/b')), ("The path '/b' with GET is there twice",))
        self.assertEqual(parse_pattern('/' + '/'.join('a' * 100))[1], [])

    def test_patterns(self) -> None:
        """A pattern has its segments, its names, and the length of its literal beginning."""
        pattern, _ = parse_pattern('/ab/{x}/p{y}-{z}s/{w:path}')
        self.assertEqual((pattern.names, pattern.literal_length), (('x', 'y', 'z', 'w'), 4))
        self.assertEqual(pattern.segments, ('ab', Placeholder('', (), '', False), Placeholder('p', ('-',), 's', False),
                                            Placeholder('', (), '', True)))  # fmt: skip
        spanning, _ = parse_pattern('/{x}/{y}-{z}', match_slash=True)
        self.assertEqual(spanning.segments, (Placeholder('', (), '', True), Placeholder('', ('-',), '', False)))
        part = Placeholder('p', ('-', '-'), 's', False)
        for text, values in (('pa-b-cs', ('a', 'b', 'c')), ('pa--b-cs', ('a', '-b', 'c')),
                             ('p-a-b-cs', ('-a', 'b', 'c')), ('pa-b-s', None), ('pa-bs', None),
                             ('p-b-cs', None), ('pa-b--s', ('a', 'b', '-'))):
            self.assertEqual(part.match(text), values, text)
        self.assertEqual([Placeholder('a', (), 'b', False).match(text) for text in ('ab', 'axb')], [None, ('x',)])

    def test_twice(self) -> None:
        """Two routes with the same path and method are an error, also if only parameter names differ."""
        self.assertEqual(len(self.errors(('GET', '/a/{x}'), ('get', '/a/{y}'), '/b', '/b', ('GET', '/b'))), 2)
        self.assertIn('any method', self.errors('/b', '/b')[0])
        table('/a/{x}', ('GET', '/a/{x}'), '/a/{x:path}', '/a/{x}.json')


def reference(patterns: list[str], path: str) -> set[str]:
    """Returns the patterns with the longest literal prefix that match, by regular expressions."""
    holes = {'{x}': '[^/]+', '{y}': '[^/]+', '{p:path}': '.+', '{q:path}': '.+'}
    matching = [
        pattern for pattern in patterns
        if re.fullmatch(''.join(holes.get(part) or re.escape(part) for part in re.split(r'(\{[^}]*\})', pattern)), path)
    ]  # fmt: skip
    exact = {pattern for pattern in matching if '{' not in pattern}
    longest = max((pattern.index('{') for pattern in matching if '{' in pattern), default=0)
    return exact or {pattern for pattern in matching if pattern.index('{') == longest}


class EquivalenceTests(Case):
    segments = ('a', 'b', '{x}', 'a{x}', '{x}b', '{p:path}')
    seconds = ('', '/a', '/b', '/{y}', '/{q:path}', '/{y}b')

    @holds(
        patterns=st.sets(st.sampled_from(sorted(
            f'/{first}{second}{third}' for first, second, third in product(segments, seconds, ('', '/a'))
        )), min_size=1, max_size=12),
        path=st.lists(st.sampled_from(('a', 'b', 'ab', '', 'c', 'aab')), min_size=1, max_size=5),
    )  # fmt: skip
    def test_as_regular_expressions_would(self, patterns: set[str], path: list[str]) -> None:
        """The trie finds the same routes as regular expressions do."""
        text = '/' + '/'.join(path)
        found = table(*patterns).find('GET', text.encode())
        wanted = reference(sorted(patterns), text)
        if isinstance(found, MatchedRoute):
            self.assertIn(found.target, wanted)
        else:
            self.assertEqual((found, wanted), (None, set()))


class CostTests(Case):
    def seconds(self, routes: RouteTable, *paths: bytes) -> float:
        """Returns the best of many short runs, to exclude the effect of other processes."""
        find = routes.find
        return min(repeat(lambda: [find('GET', path) for path in paths], number=20, repeat=50))

    def big(self, count: int) -> RouteTable:
        shapes = ('/exact/{}/path', '/api/r{}/{{id}}/items/{{item}}', '/t/{{x}}.suffix{}', '/s/{{p:path}}/end{}',
                  '/{{x}}/r{}')
        return RouteTable.build(
            Route(shape.format(number), 'GET', number) for shape in shapes for number in range(count // len(shapes))
        )

    def test_ten_thousand_routes_cost_what_ten_do(self) -> None:
        """Lookups among 10,000 routes take at most 1.3 times as long as among 10."""
        paths = [b'/exact/1/path', b'/api/r1/55/items/77', b'/t/a.suffix1', b'/s/a/b/end1', b'/q/r1', b'/no/such/path']
        few, many = self.big(10), self.big(10_000)
        for path in paths:
            self.assertEqual(few.find('GET', path), many.find('GET', path))
        ratios = (self.seconds(many, *paths) / self.seconds(few, *paths) for _ in range(20))
        self.assertTrue(any(ratio < 1.3 for ratio in ratios))

    def test_hostile_paths_cost_little(self) -> None:
        """Paths designed for backtracking between two spanning placeholders take milliseconds."""
        routes = table('/a/{x:path}/b/{y:path}/c', '/a/{x:path}/b/{y:path}/d/{z:path}/e', '/{p:path}/b/{q:path}/b/{r}')
        for path in (b'/a' + b'/b' * 4000, b'/a' + b'/b/d' * 2000, b'/' * 8000, b'/a' + b'/' * 8000,
                     b'/b' * 4000 + b'/'):
            times = (timeit(partial(routes.find, 'GET', path), number=1) for _ in range(3))
            self.assertTrue(any(seconds < 1.0 for seconds in times), path[:20])
