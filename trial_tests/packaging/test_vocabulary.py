"""The words of the source tree: standard terms, and one name for one concept."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]

# Words that name nothing in software: part of no identifier.
METAPHORS = frozenset((
    'aheads', 'answering', 'ask', 'asked', 'asker', 'asking', 'asks', 'beat', 'beats', 'brought', 'choosing',
    'company', 'craft', 'crew', 'deaf', 'deafen', 'desk', 'door', 'doorman', 'doors', 'dress', 'dressed',
    'dressing', 'duties', 'entrance', 'floor', 'floors', 'gate', 'greet', 'greeting', 'guesses', 'hire',
    'hired', 'hogs', 'hopeless', 'house', 'lane', 'lanes', 'least', 'lent', 'lifeline', 'living', 'lobby',
    'look', 'meant', 'mine', 'misled', 'mistake', 'mistakes', 'nobody', 'ours', 'patience', 'reception',
    'roster', 'said', 'saying', 'seat', 'seats', 'shelf', 'shelves', 'speak', 'speaks', 'standing', 'tallies',
    'tell', 'tells', 'theirs', 'told', 'traits', 'trouble', 'underway', 'voice', 'whose', 'workshop',
))  # fmt: skip
# Identifiers that still have such a word, with the term that is to replace it. This list may only shrink.
ALLOWED = {
    'asked': 'requested: `zatotx restart` reads it in the status file of a running parent',
}

# Public classes that share their name with a class of another package, with the reason. This list may only shrink.
HOMONYMS = {
    'BulkheadFull': 'HTTP maps the error of connectors/ to its own hierarchy',
    'CircuitOpen': 'HTTP maps the error of connectors/ to its own hierarchy',
    'ConnectionState': 'the states of two machines: to be one when Redis uses connectors/',
    'Headers': "`self.request.http.headers` and the headers of responses have Zato's name",
    'OutgoingConnection': 'the protocol in connectors/, and what HTTP implements it with',
    'Request': "`self.request` has Zato's name; the others are requests of their own protocols",
    'Response': "`self.response` has Zato's name; the others are responses of their own protocols",
    'SoapRequest': 'what services see of a SOAP request, and a request that goes out',
    'SoapResponse': 'what services see of a SOAP response, one that came in, and its double',
    'UserMetrics': '`self.metrics` as services see it, and what counts',
}

_WORD = re.compile(r'[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+')


def product_files() -> list[Path]:
    """The modules of the product, tests of kinds left out."""
    return [path for path in sorted((ROOT / 'zatotx').rglob('*.py')) if 'test' not in path.parts]


def identifiers(tree: ast.AST) -> Iterator[str]:
    """The names that a module defines: classes, functions, parameters, variables and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def words(identifier: str) -> set[str]:
    """The words of an identifier in snake_case or CamelCase, in lower case."""
    return {word.lower() for word in _WORD.findall(identifier)}


class VocabularyTests(SynchronousTestCase):
    def test_no_metaphors(self) -> None:
        """No identifier and no module name contains a word of METAPHORS."""
        found: set[str] = set()
        for path in product_files():
            names = {path.stem, *identifiers(ast.parse(path.read_text('utf-8')))}
            found |= {name for name in names if words(name) & METAPHORS}
        self.assertEqual(sorted(found - set(ALLOWED)), [])
        self.assertEqual(sorted(set(ALLOWED) - found), [], 'no longer there: remove them from ALLOWED')

    def test_one_class_one_name(self) -> None:
        """Two public classes in different packages have different names, but for those listed with a reason."""
        packages: defaultdict[str, set[str]] = defaultdict(set)
        for path in product_files():
            for node in ast.parse(path.read_text('utf-8')).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
                    packages[node.name].add(str(path.parent.relative_to(ROOT)))
        found = {name for name, where in packages.items() if len(where) > 1}
        self.assertEqual(sorted(found - set(HOMONYMS)), [], {name: sorted(packages[name]) for name in found})
        self.assertEqual(sorted(set(HOMONYMS) - found), [], 'unique by now: remove them from HOMONYMS')
