"""`zatotx migrate check`."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.command import zatotx

EXAMPLES = Path(__file__).resolve().parents[3] / 'examples'


class MigrateCheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()

    def write(self, name: str, content: str | bytes) -> None:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def test_all_problems(self) -> None:
        """Each problem of services and enmasse files is one line with file and line; the exit code is 1. Other files
        and hidden directories are skipped."""
        self.write('services/mine.py', 'class A:\n  def f(self):\n    self.cloud\n')
        self.write('services/old.py', b'\xff\xfe')
        self.write('enmasse.yaml', 'channel_rest:\n  - {name: a, url_path: /a, servise: a.a}\npubsub_topic: []\n')
        self.write('bad.yml', 'a: [')
        self.write('enmasse.json', json.dumps({'security': [{'name': 'b', 'type': 'nothing'}]}))
        self.write('other.json', '{"channels": 1')
        self.write('compose.yaml', 'services: {}\n')
        self.write('.venv/x.py', 'print "x"')
        said = zatotx('migrate', 'check', self.root)
        self.assertEqual(said.code, 1)
        lines = said.out.splitlines()
        self.assertRegex(lines[0], '^bad.yml: line 2: ')
        self.assertRegex(lines[1], "^enmasse.json: security 'b': type: must be one of: ")
        self.assertEqual(lines[2:], [
            "enmasse.yaml: channel_rest 'a': servise: unknown, did you mean service?",
            "enmasse.yaml: channel_rest 'a': service: missing",
            'enmasse.yaml: pubsub_topic: section unknown',
            'services/mine.py:3: zatotx has no self.cloud',
            'services/old.py: it is not UTF-8 text',
            'Checked 5 files: 7 problems.',
        ])  # fmt: skip
        shown = json.loads(zatotx('migrate', 'check', self.root, '--format', 'json').out)
        self.assertEqual((shown['files'], len(shown['problems'])), (5, 7))
        self.assertEqual(shown['problems'][5], {'file': 'services/mine.py', 'line': 3,
                                                'text': 'zatotx has no self.cloud'})  # fmt: skip

    def test_no_problem(self) -> None:
        """Services that zatotx runs, with the objects that refer to them, exit 0; so does an empty directory."""
        said = zatotx('migrate', 'check', EXAMPLES)
        self.assertEqual(said.code, 0)
        self.assertRegex(said.out, r'^Checked \d+ files: everything that they use is in zatotx\.\n$')
        self.assertEqual(zatotx('migrate', 'check', self.root).out, 'There are no services and no enmasse files.\n')

    def test_no_directory(self) -> None:
        """What is no directory is one sentence."""
        said = zatotx('migrate', 'check', self.root / 'absent')
        self.assertEqual(said.code, 1)
        self.assertIn('absent is not a directory: give the one that has your services', said.err)
