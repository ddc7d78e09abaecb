"""What is built is what can be installed: wheel and sdist, in an environment without this checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import free_offset
from zatotx import __version__

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(
    '.git', '.venv', 'run', 'build', 'dist', '_trial_temp*', '*.egg-info', '__pycache__', '.*_cache', '.hypothesis'
)
# A superuser without these may write only where the modes allow it, like everybody else.
HUMBLE = ('setpriv', '--bounding-set', '-dac_override,-dac_read_search,-fowner')


def run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command that must not see this checkout."""
    variables = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False, timeout=300)


class Tree:
    """A copy of the sources, and what was built from it as `make dist` does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.source = Path(shutil.copytree(ROOT, directory / 'source', ignore=LEFT_OUT))
        # What Twisted leaves beside plugins, and Python beside modules, is no part of what is built.
        (self.source / 'twisted/plugins/dropin.cache').write_bytes(b'left over')
        (self.source / 'zatotx/__pycache__').mkdir()
        (self.source / 'zatotx/__pycache__/left.cpython-311.pyc').write_bytes(b'left over')
        self.build('dist')  # an sdist, and a wheel of that sdist
        self.build('again', '--wheel')  # a wheel of the tree itself
        (self.sdist,) = (directory / 'dist').glob('*.tar.gz')
        (self.wheel,) = (directory / 'again').glob('*.whl')
        (self.wheel_of_sdist,) = (directory / 'dist').glob('*.whl')

    def build(self, place: str, *options: str) -> None:
        command = ('-m', 'build', '--no-isolation', '--outdir', str(self.directory / place), *options)
        done = run(sys.executable, *command, cwd=self.source)
        if done.returncode:
            raise AssertionError(done.stdout + done.stderr)

    def wanted(self) -> set[str]:
        """Every file of the packages that is the product's."""
        return {
            str(file.relative_to(self.source))
            for top in ('zatotx', 'twisted')
            for file in (self.source / top).rglob('*')
            if file.is_file() and 'test' not in file.parts and '__pycache__' not in file.parts
            and file.name not in ('dropin.cache', '.coverage')
        }


def in_wheel(wheel: Path) -> dict[str, bytes]:
    """Its files, by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith('/')}


class InstallationTests(SynchronousTestCase):
    """`pip install .` gives everything that runs."""

    def setUp(self) -> None:
        self.tree = Tree(Path(self.mktemp()).absolute())

    def install(self, what: Path, name: str) -> Path:
        """A fresh environment with it; its libraries are those of the one that runs the tests."""
        place = self.tree.directory / name
        venv.create(place, with_pip=False, symlinks=True)
        packages = Path(sysconfig.get_path('purelib', vars={'base': str(place), 'platbase': str(place)}))
        (packages / 'libraries.pth').write_text(sysconfig.get_path('purelib') + '\n')
        options = ('--no-deps', '--no-index', '--no-build-isolation', '--ignore-installed', '--quiet')
        done = run(sys.executable, '-m', 'pip', '--python', str(place), 'install', *options, str(what))
        self.assertEqual(done.returncode, 0, done.stderr)
        return place / 'bin'

    def test_wheel_and_sdist(self) -> None:
        """The wheel of the sdist is that of the sources, which is all of the packages and nothing else; its metadata is
        right; it installs that, the commands are there, and an environment starts where nobody may write what was
        installed."""
        files = in_wheel(self.tree.wheel)
        self.assertEqual(files, in_wheel(self.tree.wheel_of_sdist))
        names = {name for name in files if '.dist-info/' not in name}
        self.assertEqual(names, self.tree.wanted())
        self.check_sdist()
        self.check_metadata()
        binaries = self.install(self.tree.wheel_of_sdist, 'env')
        self.assertLessEqual(names, self.installed(binaries))
        self.close(binaries)
        self.check_commands(binaries, *(HUMBLE if os.geteuid() == 0 else ()))

    def check_sdist(self) -> None:
        """It has what it takes to test and build it anew, and nothing that was left over."""
        with tarfile.open(self.tree.sdist) as archive:
            names = {name.partition('/')[2] for name in archive.getnames()}
        for needed in ('Makefile', 'constraints.txt', 'CHANGELOG.md', 'LICENSE',
                       'trial_tests/packaging/test_installation.py',
                       'docs/architecture.md', 'examples/demo.yaml', 'zatotx/plugins/http/test/test_channel.py',
                       '.ci/need', 'bench/run.py'):
            self.assertIn(needed, names)
        self.assertEqual([name for name in names if re.search(r'dropin\.cache|\.pyc$|__pycache__|\.venv', name)], [])

    def metadata(self) -> Message:
        with zipfile.ZipFile(self.tree.wheel) as wheel:
            (name,) = (name for name in wheel.namelist() if name.endswith('.dist-info/METADATA'))
            return Parser().parsestr(wheel.read(name).decode('utf-8'))

    def check_metadata(self) -> None:
        """One version, everywhere the same; the extras of the contract; where the project is, and a description whose
        links lead there, since an index shows it outside of the repository."""
        found = self.metadata()
        self.assertEqual((found['Name'], found['Version']), ('zatotx', __version__))
        self.assertIn(f'zatotx-{__version__}-py3-none-any.whl', self.tree.wheel.name)
        self.assertEqual((found['Requires-Python'], found['License']), ('>=3.11', 'MIT'))
        self.assertLessEqual({'postgresql', 'mysql', 'test'}, set(found.get_all('Provides-Extra') or ()))
        urls = dict(url.split(', ', 1) for url in found.get_all('Project-URL') or ())
        self.assertEqual(set(urls), {'Source', 'Documentation', 'Changelog', 'Issues'})
        self.assertEqual(found['Description-Content-Type'], 'text/markdown')
        targets = re.findall(r'\]\(([^)]+)\)', str(found.get_payload()))
        self.assertGreater(len(targets), 10)
        self.assertEqual([target for target in targets if not target.startswith('https://')], [])
        inside = [target for target in targets if target.startswith(urls['Source'])]
        self.assertEqual([target for target in inside
                          if not (ROOT / target.removeprefix(f'{urls["Source"]}/blob/HEAD/')).exists()], [])
        self.assertIn(f'{urls["Source"]}/blob/HEAD/docs/tutorial.md', inside)

    def installed(self, binaries: Path) -> set[str]:
        """What pip put there, bytecode aside."""
        (record,) = binaries.parent.glob('lib/python*/site-packages/zatotx-*.dist-info/RECORD')
        names = {line.split(',')[0] for line in record.read_text().splitlines()}
        return {name for name in names if not name.endswith(('.pyc', 'direct_url.json', 'REQUESTED'))}

    def close(self, binaries: Path) -> None:
        """Nobody may write there any more, its owner included."""
        packages = next(binaries.parent.glob('lib/python*/site-packages'))
        for path in (packages, *packages.rglob('*')):
            path.chmod(path.stat().st_mode & ~0o222)
        self.addCleanup(self.open_again, packages)

    def open_again(self, packages: Path) -> None:
        for path in (packages, *packages.rglob('*')):
            path.chmod(0o755 if path.is_dir() else 0o644)

    def check_commands(self, binaries: Path, *before: str) -> None:
        """The installed zatotx, not the one of this checkout, works from a directory without sources."""
        python, elsewhere = str(binaries / 'python'), self.tree.directory
        where = run(*before, python, '-c', 'import zatotx; print(zatotx.__file__)', cwd=elsewhere)
        self.assertTrue(where.stdout.startswith(str(self.tree.directory)), where)
        if before:
            touched = run(*before, 'touch', f'{where.stdout.strip()}.new', cwd=elsewhere)
            self.assertIn('Permission denied', touched.stderr)
        zatotx = (*before, str(binaries / 'zatotx'))
        self.assertIn('quickstart', run(*zatotx, '--help', cwd=elsewhere).stdout)
        self.assertEqual(run(*zatotx, '--version', cwd=elsewhere).stdout, f'{__version__}\n')
        twistd = ('-c', 'from twisted.scripts.twistd import run; run()')
        for plugin in ('zato-server', 'zato-redis'):
            shown = run(*before, python, *twistd, plugin, '--help', cwd=elsewhere)
            self.assertIn('--dir', shown.stdout, shown)
            self.assertEqual(shown.stderr, '')
        offset, place = str(free_offset()), f'{binaries.parent.name}-qs'
        for words in (('quickstart', 'create', place, '--port-offset', offset), ('odb', 'check', place),
                      ('check-config', place), ('start', place), ('service', 'invoke', place, 'zato.ping'),
                      ('enmasse', place, '--export'), ('crypto', 'rotate-key', place), ('stop', place)):
            done = run(*zatotx, *words, cwd=elsewhere)
            self.assertEqual(done.returncode, 0, (words, done.stderr))


class ConstraintsTests(SynchronousTestCase):
    """constraints.txt pins what setup.cfg wants."""

    def setUp(self) -> None:
        self.place = Path(self.mktemp()).absolute()
        (self.place / '.ci').mkdir(parents=True)
        for name in ('.ci/constraints.py', 'constraints.txt', 'setup.cfg'):
            shutil.copy(ROOT / name, self.place / name)

    def check(self) -> subprocess.CompletedProcess[str]:
        return run(sys.executable, str(self.place / '.ci/constraints.py'), '--check')

    def change(self, name: str, pattern: str, new: str) -> None:
        file = self.place / name
        text, times = re.subn(pattern, new, file.read_text(), flags=re.MULTILINE)
        self.assertEqual(times, 1)
        file.write_text(text)

    def test_all_are_pinned(self) -> None:
        """Those of every extra too, as they are wanted."""
        done = self.check()
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_what_is_missing_or_too_old_is_named(self) -> None:
        """Each of them."""
        self.change('constraints.txt', r'^msgspec==.*\n', '')
        self.change('setup.cfg', r'^    click>=.*$', '    click>=99')
        done = self.check()
        self.assertEqual(done.returncode, 1)
        self.assertIn('msgspec>=', done.stdout)
        self.assertIn('click>=99 of setup.cfg is click==', done.stdout)

    def test_it_is_written_from_what_is_installed(self) -> None:
        """Sorted, with what requirements bring along; each line pins one."""
        (self.place / 'constraints.txt').unlink()
        config = (self.place / 'setup.cfg').read_text()
        extras = '[options.extras_require]\ntest =\n    hypothesis\n\n'
        only = re.sub(r'(?s)\[options\.extras_require\].*?\n\n', extras, config)
        (self.place / 'setup.cfg').write_text(only)
        done = run(sys.executable, str(self.place / '.ci/constraints.py'))
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = [line for line in (self.place / 'constraints.txt').read_text().splitlines() if not line.startswith('#')]
        names = [line.split('==')[0] for line in lines]
        self.assertEqual(names, sorted(set(names)))
        self.assertLessEqual({'twisted', 'zope-interface', 'pyopenssl', 'hypothesis', 'sortedcontainers'}, set(names))


class ChangelogTests(SynchronousTestCase):
    """The news fragments become a part of CHANGELOG.md."""

    def test_a_release(self) -> None:
        """Newest first, by kind; the fragments go; without a version nothing is done."""
        place = Path(self.mktemp()).absolute()
        (place / 'newsfragments').mkdir(parents=True)
        for name in ('towncrier.toml', 'CHANGELOG.md', 'Makefile', 'newsfragments/README.md'):
            shutil.copy(ROOT / name, place / name)
        (place / '.venv/bin').mkdir(parents=True)
        (place / '.venv/bin/towncrier').symlink_to(Path(sys.executable).with_name('towncrier'))
        for word in ('init', 'add'):
            run('git', word, *(['--all'] if word == 'add' else []), cwd=place)
        for version, text in (('1.0.0', 'Something new.'), ('1.1.0', 'Something newer.')):
            (place / 'newsfragments/+x.feature.md').write_text(f'{text}\n')
            make = ('make', '--silent', '--old-file=.venv/.tested', 'changelog')
            refused = run(*make, cwd=place)
            self.assertEqual((refused.returncode, 'VERSION=1.2.3' in refused.stderr), (2, True))
            done = run(*make, f'VERSION={version}', cwd=place)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertFalse((place / 'newsfragments/+x.feature.md').exists())
        found = (place / 'CHANGELOG.md').read_text()
        self.assertLess(found.index('# Changelog'), found.index('## zatotx 1.1.0'))
        self.assertLess(found.index('Something newer.'), found.index('## zatotx 1.0.0'))
        self.assertIn('Something new.', found)
