"""Properties of enmasse: no crashes, exports import back, and escaped references are literal."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml
from hypothesis import assume
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.odb import TYPES
from trial_tests.support.properties import holds
from trial_tests.support.vault import VAULT, Vault
from zatotx.cli.enmasse_file import parse_yaml
from zatotx.cli.errors import CommandError
from zatotx.plugins.http.schema import OBJECT_TYPES as HTTP
from zatotx.rules.enmasse.import_plan import export_document, plan_import, substitute_references
from zatotx.rules.enmasse.reference_resolution import ReferenceResolver, escape_references, has_reference
from zatotx.schema.meta import field_names
from zatotx.schema.service_config import ServiceConfig
from zatotx.schema.snapshot import ChangeSet, Snapshot, StoredObject
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.security.basic_auth import BasicAuth

ALL = ObjectTypeRegistry((*TYPES, VAULT))
TEXT = st.text(st.characters(exclude_categories=['Cs', 'Cc']), min_size=1, max_size=8)
DOLLARS = ['$', '{', '}', '${A}', 'file:', 'A', '/', ' ', 'Zato_Enmasse_Env.', 'ZATO_ENMASSE_ENV_']
LIKE_REFERENCES = st.lists(st.sampled_from(DOLLARS), max_size=6).map(''.join)
SOURCES = ReferenceResolver(environ={}, read_file=lambda path: 'read', zato_syntax=True)
NAMES = st.lists(TEXT | LIKE_REFERENCES.filter(bool), min_size=1, max_size=4, unique=True)
KEYS = st.sampled_from(sorted({name for t in ALL for name in field_names(t)} | {'type', 'nonsense'}))
WORDS = st.sampled_from(['basic_auth', 'GET', 'json', 'echo', '/a/{b}', '60', 'true', ''])
PLAIN = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXT | LIKE_REFERENCES | WORDS
VALUE = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
ITEM = st.dictionaries(KEYS, VALUE, max_size=6) | VALUE
SECTIONS = st.sampled_from(sorted({*ALL.sections, 'nonsense'})) | TEXT
DOCUMENT = st.dictionaries(SECTIONS, st.lists(ITEM, max_size=4) | VALUE, max_size=4)
PIECES = (
    'security:', '\n', '  ', '- ', '{', '}', '[', ']', ': ', 'name', 'a', '"', "'", '&a ', '*a', '<<: ', '!!', '%',
    '| ', '> ', '#', ',', '? ', '2026-01-01', '0x1f', '.inf', '~', 'null', '\t', '---\n', '...\n', '\0', 'é',
)  # fmt: skip


def configuration(values: list[Any]) -> Snapshot:
    keys = {t.struct: t.key for t in ALL}
    stored = tuple(StoredObject(number, keys[type(value)], value, 1) for number, value in enumerate(values, 1))
    return Snapshot().apply_changes(ChangeSet(revision=1, changed=stored))


@st.composite
def configurations(draw: Any) -> Snapshot:
    """Generates users, services, vaults and channels that refer to each other."""
    users, services, channels = draw(NAMES), draw(NAMES), draw(NAMES)
    text = TEXT | LIKE_REFERENCES
    values: list[Any] = [
        BasicAuth(name=name, username=f'user {number}', realm=draw(text), password=draw(st.just('') | text))
        for number, name in enumerate(users)
    ]
    values += [ServiceConfig(name=name) for name in services]
    values += [Vault(name=name, password=draw(text), note=draw(text)) for name in users]
    for number, name in enumerate(channels):
        security = draw(st.none() | st.sampled_from(users))
        values.append(HTTP[0].struct(name=name, url_path=f'/{number}', service=draw(st.sampled_from(services)),
                                     security=security, method=draw(st.sampled_from([None, 'GET', 'POST']))))
    return configuration(values)


def planned(document: Any, snapshot: Snapshot, *, replace: bool = False) -> Any:
    return plan_import(document, ALL, snapshot, replace=replace, verify=lambda hashed, clear: hashed == clear)


class ExportTests(SynchronousTestCase):
    @holds(60, snapshot=configurations(), replace=st.booleans())
    def test_an_import_of_an_export_is_no_change(self, snapshot: Snapshot, replace: bool) -> None:
        """Importing an export through YAML and substitution changes nothing, with included secrets or environment
        variables."""
        for secrets in (True, False):
            document = export_document(snapshot, ALL, secrets=secrets)
            text = yaml.safe_dump(document, allow_unicode=True, sort_keys=False)
            loaded = parse_yaml('export.yaml', text.encode())
            environ = self.environ(document, export_document(snapshot, ALL, secrets=True))
            replaced, wrong = substitute_references(loaded, environ, lambda path: 'never read')
            self.assertEqual(wrong, [])
            plan = planned(replaced, snapshot, replace=replace)
            self.assertEqual((plan.errors, plan.operations), ((), ()))

    def environ(self, document: Any, clear: Any) -> dict[str, str]:
        """Returns the values of an export's variables."""
        found = {}
        for section, items in document.items():
            for item, whole in zip(items, clear[section], strict=True):
                for name, value in item.items():
                    if value != whole[name]:
                        found[value[2:-1]] = SOURCES.resolve(whole[name], [])
        return found

    @holds(30, snapshot=configurations())
    def test_an_export_makes_the_same_again(self, snapshot: Snapshot) -> None:
        """Importing an export into a cluster with only the services creates the same objects."""
        document, _ = substitute_references(export_document(snapshot, ALL, secrets=True), {}, lambda path: 'never read')
        empty = configuration([stored.value for stored in snapshot.objects_of_types('service')])
        plan = planned(document, empty)
        self.assertEqual(plan.errors, ())
        made = {(o.type, o.name): o.fields for o in plan.operations}
        for stored in snapshot:
            if stored.type != 'service':
                self.assertEqual(made[stored.type, stored.name], msgspec.structs.asdict(stored.value))


class DocumentTests(SynchronousTestCase):
    @holds(document=DOCUMENT, snapshot=configurations(), replace=st.booleans())
    def test_any_document(self, document: Any, snapshot: Snapshot, replace: bool) -> None:
        """Any document has a plan with either operations or errors, each in one line with its location."""
        plan = planned(document, snapshot, replace=replace)
        self.assertFalse(plan.operations and plan.errors)
        for mistake in plan.errors:
            self.assertTrue(str(mistake).strip())
            self.assertIn(mistake.section, [*map(str, document), ''])

    @holds(document=VALUE)
    def test_any_value(self, document: Any) -> None:
        """Any value as a document has a plan too."""
        assume(not isinstance(document, dict))
        self.assertTrue(planned(document, Snapshot()).errors)

    @holds(300, text=st.lists(st.sampled_from(PIECES), max_size=25).map(lambda parts: ''.join(parts).encode())
           | st.binary(max_size=40))  # fmt: skip
    def test_any_file(self, text: bytes) -> None:
        """Any file is a mapping, or is rejected in one line that names it; its result is JSON-compatible."""
        try:
            found = parse_yaml('any.yaml', text)
        except CommandError as error:
            said = error.format_message()
            self.assertEqual((len(said.splitlines()), 'any.yaml' in said), (1, True), said)
            return
        msgspec.json.encode(found)
        planned(found, Snapshot())


class ReferenceTests(SynchronousTestCase):
    @holds(300, value=st.recursive(TEXT | LIKE_REFERENCES, lambda inner: st.lists(inner, max_size=3)
                                   | st.dictionaries(LIKE_REFERENCES, inner, max_size=3), max_leaves=8))  # fmt: skip
    def test_escaped(self, value: Any) -> None:
        """Escaped text resolves to itself and contains no references."""
        wrong: list[str] = []
        self.assertEqual(SOURCES.resolve(escape_references(value), wrong), value)
        self.assertEqual((wrong, has_reference(escape_references(value))), ([], False))
