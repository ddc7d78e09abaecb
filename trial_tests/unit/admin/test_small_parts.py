"""Settings, YAML documents, times and the vendored file of the web admin."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zatotx.admin.preferences import Preferences, make_preferences
from zatotx.admin.rendering import format_number, moment, shown_value
from zatotx.admin.settings import DEFAULT_LISTEN, WebSettings, load_settings, plaintext_warning
from zatotx.admin.yaml_document import InvalidYaml, load_yaml
from zatotx.model.errors import StartError


class SettingsTests(SynchronousTestCase):
    def load(self, text: str) -> object:
        path = Path(self.mktemp())
        path.write_text(text)
        return load_settings(path)

    def test_defaults(self) -> None:
        """Name and servers suffice; it listens on loopback."""
        settings = self.load('[cluster]\nname = "c"\nservers = ["http://127.0.0.1:17010"]\n')
        self.assertEqual(settings.web.listen, DEFAULT_LISTEN)  # type: ignore[attr-defined]

    def test_plaintext(self) -> None:
        """A warning says that passwords are sent unencrypted to other machines."""
        for listen, host, is_behind_https, is_found in (
            ('tcp:8183', '0.0.0.0', False, True), ('haproxy:tcp:8183', '192.0.2.1', False, True),
            ('tcp:8183', '0.0.0.0', True, False), ('tcp:8183:interface=127.0.0.1', '127.0.0.1', False, False),
            ('ssl:8183:privateKey=k', '0.0.0.0', False, False), ('unix:admin.sock', '', False, False),
        ):  # fmt: skip
            warning = plaintext_warning(WebSettings(listen=listen, is_behind_https=is_behind_https), host)
            self.assertEqual('unencrypted' in warning, is_found, listen)

    def test_mistakes(self) -> None:
        """One sentence names the file and the mistake."""
        for text, part in (
            ('', 'cluster'), ('[cluster]\nname = "c"\nservers = []', 'servers'), ('[', 'not valid'),
            ('[cluster]\nname = "c"\nservers = ["ftp://x"]', "'ftp://x'"),
            ('[cluster]\nname = "c"\nservers = ["http://x"]\n[web]\nlisten_on = 1', 'listen_on'),
        ):
            error = self.assertRaises(StartError, self.load, text)
            self.assertIn(part, str(error))
        self.assertIn('is missing', str(self.assertRaises(StartError, load_settings, Path('nowhere.toml'))))


class YamlTests(SynchronousTestCase):
    def test_documents(self) -> None:
        """A mapping is read; anything else, and aliases that stand for more than is written, is rejected."""
        self.assertEqual(load_yaml('channel_rest:\n  - {name: x}'), {'channel_rest': [{'name': 'x'}]})
        for text in ('- x', '', 'a: [', 'a: &x [1]\nb: *x', 'x', '!!python/object:os.system {}'):
            self.assertRaises(InvalidYaml, load_yaml, text)


class RenderingTests(SynchronousTestCase):
    def test_times(self) -> None:
        """Times are shown in the user's zone, with the exact time for programs; what is no time is shown as it is."""
        self.assertEqual(moment('2026-01-01T12:00:00+00:00', Preferences('Europe/Warsaw')),
                         '<time datetime="2026-01-01T12:00:00+00:00">2026-01-01 13:00:00</time>')
        self.assertEqual(moment('', Preferences()), '')
        self.assertEqual(moment('<b>', Preferences()), '<b>')

    def test_preferences(self) -> None:
        """Dates and times have the form that the user chose, around midnight in the user's zone, too; what is invalid
        is the default."""
        chosen = make_preferences({'time_zone': 'Asia/Tokyo', 'date_format': 'dd.mm.yyyy', 'time_format': '12 hours',
                                   'theme': 'pink', 'color': 'red'})  # fmt: skip
        self.assertIn('>01.01.2027 01:30:00 AM<', str(moment('2026-12-31T16:30:00', chosen)))
        self.assertEqual((chosen.theme, chosen.color), ('auto', 'red'))
        self.assertEqual(make_preferences({'time_zone': '../../etc/passwd', 'date_format': '%n'}), Preferences())
        self.assertEqual(chosen.from_input(chosen.to_input(1_800_000_000)), 1_800_000_000)
        self.assertIsNone(chosen.from_input('yesterday'))

    def test_values(self) -> None:
        """Values of rows are readable."""
        self.assertEqual([shown_value(value) for value in (True, ['a', 'b'], '', None, 0)],
                         ['Yes', 'a, b', '\N{EN DASH}', '\N{EN DASH}', '0'])
        self.assertEqual([format_number(value) for value in (1234567, 1234.5, 0, 'text')],
                         ['1,234,567', '1,234.5', '0', 'text'])


class VendorTests(SynchronousTestCase):
    def test_unmodified(self) -> None:
        """The vendored file is the one that its README names, with its license beside it."""
        vendor = files('zatotx.admin') / 'vendor'
        digest = sha256((vendor / 'htmx.min.js').read_bytes()).hexdigest()
        self.assertIn(digest, (vendor / 'README.md').read_text())
        self.assertIn('Zero-Clause BSD', (vendor / 'LICENSE').read_text())
