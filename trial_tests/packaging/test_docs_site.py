"""Tests of the documentation site and of the files in contrib/."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import SCRIPTS

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / 'contrib' / 'systemd').glob('*.service'))
_OUTSIDE = re.compile(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(?:https?:)?//[^"]*"')


class SiteTests(SynchronousTestCase):
    def test_it_builds_without_a_warning(self) -> None:
        """Sphinx reports no unreachable pages or broken links, and no page loads resources from other hosts."""
        out = Path(self.mktemp())
        done = subprocess.run(
            [sys.executable, '-m', 'sphinx', '-q', '-W', '--keep-going', '-b', 'html', str(ROOT / 'docs'), str(out)],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        pages = list(out.rglob('*.html'))
        self.assertGreater(len(pages), 10)
        for page in pages:
            self.assertEqual(_OUTSIDE.findall(page.read_text('utf-8')), [], page.name)


class ReadmeTests(SynchronousTestCase):
    def test_its_links_lead_somewhere(self) -> None:
        """Links in README and CONTRIBUTING, which are not part of the site, refer to existing files."""
        for name in ('README.md', 'CONTRIBUTING.md'):
            for target in re.findall(r'\]\(([^)#:]+)\)', (ROOT / name).read_text('utf-8')):
                self.assertTrue((ROOT / target).exists(), f'{name}: {target}')


class UnitTests(SynchronousTestCase):
    def test_they_start_what_there_is(self) -> None:
        """twistd accepts the command line of each unit, and each unit belongs to zatotx.target."""
        self.assertEqual([unit.name for unit in UNITS],
                         ['zatotx-connector@.service', 'zatotx-load-balancer.service', 'zatotx-redis.service',
                          'zatotx-server@.service', 'zatotx-web-admin.service'])  # fmt: skip
        for unit in UNITS:
            parser = ConfigParser(interpolation=None, strict=False)
            parser.read(unit)
            program, *words = shlex.split(parser['Service']['ExecStart'])
            self.assertEqual(program, '/opt/zatotx/bin/twistd')
            at = words.index('--dir')
            done = subprocess.run([str(SCRIPTS / 'twistd'), *words[:at], '--help'], capture_output=True, text=True,
                                  timeout=60, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn('--dir', done.stdout)
            self.assertEqual(parser['Install']['WantedBy'], 'zatotx.target')

    def test_they_take_away_what_is_not_needed(self) -> None:
        """Each unit has an exposure level of at most 2 of 10, filters system calls and namespaces, and is restarted
        without a limit, because the cause of a failure may take an hour to be fixed."""
        for unit in UNITS:
            done = subprocess.run(['systemd-analyze', 'security', '--offline=true', '--threshold=20', str(unit)],
                                  capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            parser = ConfigParser(interpolation=None, strict=False)
            parser.read(unit)
            for name in ('SystemCallFilter', 'RestrictNamespaces'):
                self.assertIn(name, parser['Service'])
            self.assertEqual((parser['Unit']['StartLimitIntervalSec'], parser['Service']['Restart']),
                             ('0', 'on-failure'))
