"""server.toml is validated as a whole, with all errors reported at once."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zatotx.connectors.kind_registry import check_selected_kinds, find_kinds
from zatotx.model.errors import StartError
from zatotx.node.settings import load_settings, parse_settings

GOOD = {
    'main': {'name': 'server1', 'cluster': 'c'},
    'odb': {'url': 'sqlite:///x.db'},
    'kvdb': {'url': 'unix://redis.sock'},
}


class ParseTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """What is not said has its default; a kind's own section is passed on as it stands."""
        settings, mistakes = parse_settings({**GOOD, 'http': {'listen': ['x']}}, ['http'])
        assert settings is not None
        self.assertEqual(mistakes, [])
        self.assertEqual((settings.threads.services, settings.shutdown.grace, settings.kvdb.timeout), (20, 10, 5))
        self.assertEqual(settings.kinds, {'http': {'listen': ['x']}})

    def test_all_mistakes_at_once(self) -> None:
        """Unknown sections and keys, wrong values and what is missing are named together."""
        settings, mistakes = parse_settings({
            'main': {'name': ''}, 'odb': {'url': 5, 'pool': 1}, 'shutdown': {'grace': -1}, 'colour': {}, 'http': 3,
            'threads': [],
        }, ['http'])
        self.assertIsNone(settings)
        told = '\n'.join(mistakes)
        for path in ('main.name', 'main.cluster', 'odb.url', 'odb.pool', 'shutdown.grace', 'colour', 'http', 'kvdb',
                     'threads'):
            self.assertIn(f'{path}:', told)


class LoadTests(SynchronousTestCase):
    def refused(self, text: str | None) -> str:
        path = Path(self.mktemp())
        if text is not None:
            path.write_text(text)
        return str(self.assertRaises(StartError, load_settings, path, ['http']))

    def test_bad_files_are_one_sentence(self) -> None:
        """A missing file, one that is not TOML, and one with wrong settings are each told in one line with the path."""
        for text in (None, 'x = [', '[main]\nname = "a"\n'):
            said = self.refused(text)
            self.assertNotIn('\n', said)
            self.assertIn('temp', said)


class SelectedKindsTests(SynchronousTestCase):
    def test_unknown_kinds(self) -> None:
        """`connector_kinds` may name kinds for connectors only; the error says which there are."""
        kinds = find_kinds()
        check_selected_kinds(kinds, None)
        check_selected_kinds(kinds, ['amqp'])
        with self.assertRaises(StartError) as caught:
            check_selected_kinds(kinds, ['http', 'amqq'])
        for text in ("'amqq' or 'http'", '(known: amqp'):
            self.assertIn(text, str(caught.exception))
