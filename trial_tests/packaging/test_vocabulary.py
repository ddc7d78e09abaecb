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
    'company', 'craft', 'crew', 'deaf', 'deafen', 'desk', 'door', 'doorman', 'doors', 'dress', 'dressed',
    'dressing', 'duties', 'floor', 'floors', 'greet', 'greeting', 'hire', 'hired', 'hogs', 'house', 'lane',
    'lanes', 'lifeline', 'lobby', 'misled', 'nobody', 'reception', 'roster', 'seat', 'seats', 'shelf',
    'shelves', 'tallies', 'trouble', 'voice', 'workshop',
))  # fmt: skip
# Identifiers that still have such a word, with the term that is to replace it. This list may only shrink.
ALLOWED = {
    'DOOR': 'ENDPOINT',
    'DOORS': 'ENDPOINTS',
    'Dress': 'ResponseFilter',
    'NOBODY': 'NO_PRINCIPAL',
    '_NOBODY': 'NO_PRINCIPAL',
    '_LEAST_SEATS': 'MIN_SLOTS',
    '_greet_and_prepare': 'handshake',
    '_seat': 'slot',
    'company': 'worker_group',
    'crew': 'supervisor',
    'deaf': 'is_muted',
    'deafen': 'close_input',
    'desk': 'lease_store',
    'door': 'is_builtin',
    'doorman': 'accept_limiter',
    'doors': 'namespaces',
    'dress': 'filter',
    'dressed': 'filtered',
    'dressing': 'filters',
    'hire': 'spawn',
    'reception': 'request_router',
    'seat': 'slot',
    'seats': 'slots',
    'shelf': 'token_cache',
    'trouble': 'error',
    'voice': 'connection_log',
}

# Public classes that share their name with a class of another package, with the reason. This list may only shrink.
HOMONYMS = {
    'Body': 'a request body in model/, the request body of an OpenAPI operation in rules/openapi/',
    'BulkheadFull': 'HTTP maps the error of connectors/ to its own hierarchy',
    'Channel': "`self.channel` of services has Zato's name; rules/openapi/ describes a channel",
    'Charge': 'the charge of a rate limit, and of the memory of a body: to be BodyCharge',
    'CircuitBreaker': 'the configuration in a schema, and the machine that it configures',
    'CircuitOpen': 'HTTP maps the error of connectors/ to its own hierarchy',
    'Cluster': 'a cluster as commands see it, and its row in the ODB',
    'ConnectionFactory': "Twisted's term, for the server's and the client's protocols",
    'ConnectionState': 'the states of two machines: to be one when Redis uses connectors/',
    'Entry': 'an entry of a Redis stream, of the history, of an import and of a script: to be qualified',
    'Expiring': 'what a deadline sweeper looks at: to be one with a shared sweeper',
    'Finding': 'a finding of a check, and of check-config',
    'Headers': "`self.request.http.headers` and the headers of responses have Zato's name",
    'HttpResponse': 'a response to a command, and to the HTTP client: to be one with a shared client',
    'Limits': 'the settings section [limits], and the limits of multipart forms',
    'OutgoingConnection': 'the protocol in connectors/, and what HTTP implements it with',
    'PlainElement': 'an XML element without objectify, and a SimpleIO element without a type: to be qualified',
    'Request': "`self.request` has Zato's name; the others are requests of their own protocols",
    'Response': "`self.response` has Zato's name; the others are responses of their own protocols",
    'ResponseStream': "the server's and the client's body that is streamed",
    'Script': 'a Lua script, and the script of a test',
    'Scripts': 'Lua scripts, and the scripts of a test',
    'SoapRequest': 'what services see of a SOAP request, and a request that goes out',
    'SoapResponse': 'what services see of a SOAP response, one that came in, and its double',
    'Step': 'a step of a command, and of a restore',
    'StreamedResponse': 'the test kit has a double of the same name',
    'TokenRefused': 'by an authorization server, and by WS-Security: to be qualified',
    'UnusableCredentials': 'TLS credentials, and those of a security definition: to be qualified',
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
