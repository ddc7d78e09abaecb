"""Modules, packages and zips accepted for deployment."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.errors import BadRequest
from zatotx.service.deployment import source_package
from zatotx.service.deployment.source_package import (
    MODULE,
    PACKAGE,
    create_zip,
    parse_stored,
    parse_upload,
    zip_directory,
)


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, 'w') as archive:
        for name, data in members:
            archive.writestr(name, data)
    return made.getvalue()


class AcceptTests(SynchronousTestCase):
    def refusal(self, name: str, content: bytes) -> str:
        told: str = self.assertRaises(BadRequest, parse_upload, name, content).msg
        return told

    def test_module(self) -> None:
        """A module is accepted unchanged, under its own name."""
        source = parse_upload('my-api.py', b'x = 1\n')
        self.assertEqual((source.file, source.form, source.top_level_modules), ('my-api.py', MODULE, ('my-api',)))
        self.assertEqual((source.content, dict(source.files)), (b'x = 1\n', {'my-api.py': b'x = 1\n'}))

    def test_package_has_its_own_name(self) -> None:
        """A package is named by its directory, whatever the name of its zip."""
        source = parse_upload('crm-1.2.zip', zipped(('crm/', b''), ('crm/__init__.py', b''), ('crm/data.txt', b'd')))
        self.assertEqual((source.file, source.form, source.top_level_modules), ('crm', PACKAGE, ('crm',)))
        self.assertEqual(dict(source.files), {'crm/__init__.py': b'', 'crm/data.txt': b'd'})

    def test_flat_modules(self) -> None:
        """Zato's archives of flat modules are one deployed file, named by the archive."""
        source = parse_upload('bundle.zip', zipped(('b.py', b'2'), ('a.py', b'1')))
        self.assertEqual((source.file, source.form, source.top_level_modules), ('bundle', PACKAGE, ('a', 'b')))

    def test_same_code_same_bytes(self) -> None:
        """Order, dates and caches in a zip do not change the version."""
        dated = zipfile.ZipInfo('crm/__init__.py', (2020, 2, 2, 2, 2, 2))
        one = parse_upload('crm.zip', zipped(('crm/a.py', b'a'), (dated, b'i')))
        cached = zipped(('crm/__init__.py', b'i'), ('crm/__pycache__/a.pyc', b'?'), ('crm/a.py', b'a'))
        other = parse_upload('crm.zip', cached)
        self.assertEqual(one.content, other.content)
        self.assertEqual(one.sha256, other.sha256)

    def test_kept_form_comes_back(self) -> None:
        """The stored form of a package or module restores to the same source."""
        for name, content in (('crm.zip', zipped(('crm/__init__.py', b'i'))), ('m.py', b'm')):
            source = parse_upload(name, content)
            self.assertEqual(parse_stored(source.file, source.form, source.content), source)

    def test_names_that_lead_elsewhere(self) -> None:
        """A member whose path leads out of the package is rejected by name."""
        for path in ('/etc/x.py', '../x.py', 'crm/../../x.py', 'crm//x.py', './x.py', 'c:/x.py', 'crm\\x.py'):
            told = self.refusal('crm.zip', zipped(('crm/__init__.py', b''), (path, b'')))
            self.assertIn(path.replace('\\', '\\\\'), told)

    def test_links_and_twins(self) -> None:
        """Links and duplicate members are rejected, all at once."""
        link = zipfile.ZipInfo('crm/link.py')
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        content = zipped(('crm/__init__.py', b''), ('crm/__init__.py', b''), (link, b'/etc/passwd'))
        self.flushWarnings()  # zipfile's own, about the twin we made it write
        told = self.refusal('crm.zip', content)
        self.assertIn("'crm/link.py' is a link or a device", told)
        self.assertIn("'crm/__init__.py' is there twice", told)

    def test_sizes(self) -> None:
        """Exceeded limits of content, unpacked bytes or members are rejected before they fill memory."""
        self.patch(source_package, 'MAX_UNPACKED', 1000)
        self.assertIn('more than 1000 bytes', self.refusal('a.zip', zipped(('a.py', b'#' * 1001))))
        self.patch(source_package, 'MAX_MEMBERS', 2)
        self.assertIn('at most 2', self.refusal('a.zip', zipped(('a.py', b''), ('b.py', b''), ('c.py', b''))))
        self.patch(source_package, 'MAX_CONTENT', 5)
        self.assertIn('at most 5', self.refusal('a.py', b'123456'))

    def test_what_is_not_a_package(self) -> None:
        """Each kind of content that cannot be deployed has its own message."""
        shapes: list[tuple[str, bytes, str]] = [
            ('crm.zip', b'PK no zip', 'not a zip that can be read'),
            ('crm.zip', zipped(('crm/__init__.py', b'x' * 100))[:-30], 'not a zip that can be read'),
            ('crm.zip', zipped(), 'it is empty'),
            ('crm.zip', zipped(('crm/a.py', b'')), 'crm/__init__.py is missing'),
            ('crm.zip', zipped(('crm/__init__.py', b''), ('hr/__init__.py', b'')), 'this one has crm, hr'),
            ('crm.zip', zipped(('read.me', b'')), 'there is no module in it'),
            ('a-b.zip', zipped(('a-b/__init__.py', b'')), 'not a name a Python package can have'),
            ('crm.tar.gz', b'', 'pack the modules into a .zip'),
            ('crm.txt', b'', 'only .py modules and .zip packages'),
            ('crm.v2.py', b'', 'with no dot'),
            ('../crm.py', b'', 'without its directory'),
            ('.py', b'', 'a module is named by'),
            ('2.py', b'', 'a module is named by'),
        ]
        for name, content, expected in shapes:
            with self.subTest(name):
                self.assertIn(expected, self.refusal(name, content))

    def test_damaged_compression(self) -> None:
        """A zip with damaged member data is rejected like any other damaged zip."""
        good = bytearray(create_zip({'crm/__init__.py': bytes(range(256)) * 20}))
        good[60:80] = b'\xff' * 20
        self.assertIn('not a zip that can be read', self.refusal('crm.zip', bytes(good)))


class PackDirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp(), 'crm')
        (self.root / 'sub').mkdir(parents=True)
        (self.root / '__init__.py').write_text('i')
        (self.root / 'sub' / 'a.py').write_text('a')

    def test_directory_is_packed(self) -> None:
        """A directory becomes the zip of its package, without caches and editors' files."""
        (self.root / '__pycache__').mkdir()
        (self.root / '__pycache__' / 'a.pyc').write_bytes(b'?')
        (self.root / '.hidden').write_text('?')
        (self.root / 'a.py~').write_text('?')
        source = parse_upload('crm.zip', zip_directory(self.root))
        self.assertEqual(dict(source.files), {'crm/__init__.py': b'i', 'crm/sub/a.py': b'a'})
        self.assertEqual(source.content, zip_directory(str(self.root)))

    def test_links_and_missing_init(self) -> None:
        """A link in a directory, and a directory that is not a package, are rejected by name."""
        (self.root / 'sub' / 'link.py').symlink_to('a.py')
        self.assertIn('crm/sub/link.py is a link', self.assertRaises(BadRequest, zip_directory, self.root).msg)
        (self.root / 'sub' / 'link.py').unlink()
        (self.root / '__init__.py').unlink()
        self.assertIn('crm/__init__.py is missing', self.assertRaises(BadRequest, zip_directory, self.root).msg)
