"""Generated requests by the OpenAPI document against the server that wrote it: schemathesis, with all of its checks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.every_field import PASSWORD, USER, every_field

SCHEMATHESIS = Path(sys.executable).with_name('schemathesis')
OPTIONS = ('--phases', 'examples,coverage,fuzzing', '--max-examples', '2', '--generation-deterministic', '--seed', '1',
           '--continue-on-failure', '--no-color', '--no-shrink')  # fmt: skip
FEWEST = 500  # requests, or it did not do its work

CONFIG = f"""
[auth.openapi]
"{USER}" = {{username = "{USER}", password = "{PASSWORD}"}}
"api.user" = {{username = "api.user", password = "{PASSWORD}"}}

# All of XML is text: what it writes of a value of a wrong type is mostly a right one, and null is the text `null`.
[[operations]]
include-path-regex = "^/every/xml/"
checks.positive_data_acceptance.enabled = false
checks.negative_data_rejection.enabled = false

# So are the fields of a form with files.
[[operations]]
include-path-regex = "^/every/upload"
checks.negative_data_rejection.enabled = false

# A channel without a method takes every one, of which the document tells one and says that there are others.
[[operations]]
include-path = "/every/any/{{name}}"
checks.unsupported_method.enabled = false
"""


class GeneratedTests(SynchronousTestCase):
    def test_the_server_does_what_the_document_says(self) -> None:
        """Every sort of field, uploads, streams, limits and the demo: what the schemas allow is taken, all else refused
        by a documented status, and every answer has the form that the document gives it. Never a 500."""
        broker = every_field()
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        (folder / 'schemathesis.toml').write_text(CONFIG, 'utf-8')
        address = f'http://127.0.0.1:{broker.port()}/zato/openapi.json'
        done = subprocess.run([SCHEMATHESIS, 'run', address, *OPTIONS], cwd=folder, capture_output=True, text=True,
                              check=False)  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        paths = broker.ask('GET', '/zato/openapi.json').json()['paths']
        tested, generated = (re.search(words, done.stdout) for words in (r'Tested: (\d+)', r'(\d+) generated'))
        assert tested is not None and generated is not None, done.stdout
        self.assertEqual(int(tested[1]), sum(map(len, paths.values())), done.stdout)
        self.assertGreater(int(generated[1]), FEWEST)
