"""Value objects for source code to deploy, which is a module, a package, or a zip file of modules without directories,
as in Zato's archives.

A package is sent as a zip and stored in a canonical form (sorted, without dates), so that the same code gives the same
bytes whoever packed it. Nothing here imports or runs the code. Blocking: call it in a worker thread.
"""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath

import msgspec

from zatotx.model.errors import BadRequest

MODULE, PACKAGE = 'module', 'package'
MAX_CONTENT = 20 * 1024 * 1024  # bytes of an uploaded file
MAX_UNPACKED = 64 * 1024 * 1024  # bytes of all members of a zip, unpacked
MAX_MEMBERS = 2000
MAX_NAME = 255  # characters of a member's path
MODULE_SUFFIXES = ('.py', '.pyw')
_ARCHIVES = ('.tar', '.tgz', '.tar.gz', '.tar.bz2', '.tbz2', '.tar.xz', '.txz', '.7z', '.rar', '.egg', '.whl')
_JUNK_NAMES = frozenset({'__pycache__', '__MACOSX'})
_JUNK_SUFFIXES = ('~', '.pyc', '.pyo', '.swp', '.swo', '.tmp', '.part', '.bak', '.orig')
_EPOCH = (1980, 1, 1, 0, 0, 0)


class SourcePackage(msgspec.Struct, frozen=True, kw_only=True):
    """Source code to deploy. `files` maps paths with '/' to contents; `top_level_modules` are the names of its
    top-level modules."""

    file: str  # 'crm.py', or 'crm' for a package
    form: str  # MODULE or PACKAGE
    content: bytes  # as stored: the module's text or the canonical zip
    files: Mapping[str, bytes]
    top_level_modules: tuple[str, ...]

    @property
    def sha256(self) -> str:
        return sha256(self.content).hexdigest()


def is_ignored_file(name: str) -> bool:
    """Return whether a file is never deployed, because it belongs to an editor, a downloader or the interpreter."""
    return name.startswith(('.', '#')) or name in _JUNK_NAMES or name.lower().endswith(_JUNK_SUFFIXES)


def parse_upload(name: str, content: bytes) -> SourcePackage:
    """Parse an upload with the given file name, 'x.py' or 'x.zip'. Raises BadRequest, with the reason, if the upload
    cannot be deployed."""
    if '/' in name or '\\' in name or '\0' in name or len(name) > MAX_NAME:
        raise BadRequest(f'{name[:80]!r} is not a file name: send the name alone, without its directory')
    if len(content) > MAX_CONTENT:
        raise BadRequest(f'{name}: {len(content)} bytes are too many, at most {MAX_CONTENT} can be deployed')
    lower = name.lower()
    if lower.endswith(MODULE_SUFFIXES):
        _check_stem(name, PurePosixPath(name).stem)
        return _module(name, content)
    if lower.endswith('.zip'):
        return _from_zip(name, content)
    if lower.endswith(_ARCHIVES):
        raise BadRequest(f'{name}: archives of this type are not taken, pack the modules into a .zip')
    raise BadRequest(f'{name}: only .py modules and .zip packages can be deployed')


def parse_stored(file: str, form: str, content: bytes) -> SourcePackage:
    """Parse source code that is stored in the ODB. Raises BadRequest if the stored bytes are damaged."""
    return _module(file, content) if form == MODULE else _from_zip(f'{file}.zip', content)


def create_zip(files: Mapping[str, bytes]) -> bytes:
    """Create a zip file of the given files. Equal files result in equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(files):
            member = zipfile.ZipInfo(path, _EPOCH)
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            member.create_system = 3  # Unix, on every platform
            archive.writestr(member, files[path], zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def zip_directory(path: str | Path) -> bytes:
    """Create a zip file of a package directory, without caches, hidden files and backup files of editors.

    Raises BadRequest for a link, a missing `__init__.py` or exceeded limits; OSError for what cannot be read.
    """
    root = Path(path).resolve()
    files = {f'{root.name}/{relative}': file.read_bytes() for relative, file in _walk(root, root)}
    _check_package(root.name, files)
    return create_zip(files)


def _walk(directory: Path, root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the relative path and the path of every file of a package. Raises BadRequest for links."""
    for entry in sorted(directory.iterdir()):
        if is_ignored_file(entry.name):
            continue
        relative = entry.relative_to(root).as_posix()
        if entry.is_symlink():
            raise BadRequest(f'{root.name}/{relative} is a link: put the file itself into the package')
        if entry.is_dir():
            yield from _walk(entry, root)
        elif entry.is_file():
            yield relative, entry


def _module(name: str, content: bytes) -> SourcePackage:
    """Return the source that consists of one module."""
    top = PurePosixPath(name).stem
    return SourcePackage(
        file=name, form=MODULE, content=content, files={f'{top}.py': content}, top_level_modules=(top,)
    )


def _from_zip(name: str, content: bytes) -> SourcePackage:
    """Return the source in a zip. Raises BadRequest."""
    files = _unzip(name, content)
    tops = {path.split('/')[0] for path in files}
    if any('/' in path for path in files):
        if len(tops) > 1:
            examples = ', '.join(sorted(tops)[:5])
            raise BadRequest(f'{name}: a zip holds one package directory or flat modules, this one has {examples}')
        file = tops.pop()
        _check_package(file, files)
        return SourcePackage(file=file, form=PACKAGE, content=create_zip(files), files=files, top_level_modules=(file,))
    modules = sorted(PurePosixPath(path).stem for path in files if path.endswith('.py'))
    if not modules:
        raise BadRequest(f'{name}: there is no module in it')
    for module in modules:
        _check_stem(f'{name}: {module}.py', module)
    file = PurePosixPath(name).stem
    _check_stem(name, file)
    return SourcePackage(
        file=file, form=PACKAGE, content=create_zip(files), files=files, top_level_modules=tuple(modules)
    )


def _unzip(name: str, content: bytes) -> dict[str, bytes]:
    """Return the files of a zip by path. Raises BadRequest."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = _checked_members(name, archive.infolist())
            return _read_members(name, archive, members)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, OSError, RuntimeError) as error:
        raise BadRequest(f'{name} is not a zip that can be read: {error}') from None
    except Exception as error:  # zlib.error, lzma.LZMAError: each compression library has its own
        if isinstance(error, BadRequest):
            raise
        raise BadRequest(f'{name} is not a zip that can be read: {error}') from None


def _checked_members(name: str, members: Iterable[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Return the members to unpack by path. Raises BadRequest listing the invalid ones."""
    accepted: dict[str, zipfile.ZipInfo] = {}
    errors = []
    for member in members:
        error = _member_error(member)
        if error:
            errors.append(f'{member.filename[:80]!r} {error}')
        elif member.filename in accepted:
            errors.append(f'{member.filename!r} is there twice')
        elif not member.is_dir() and not any(is_ignored_file(part) for part in member.filename.split('/')):
            accepted[member.filename] = member
    if len(accepted) > MAX_MEMBERS:
        errors.append(f'{len(accepted)} files are too many, at most {MAX_MEMBERS}')
    if errors:
        raise BadRequest(f'{name}: ' + '; '.join(errors[:10]))
    return accepted


def _member_error(member: zipfile.ZipInfo) -> str:
    """Return what is wrong with a member, or ''."""
    path = member.filename
    parts = path.rstrip('/').split('/')
    kind = stat.S_IFMT(member.external_attr >> 16)
    if path.startswith('/') or '\\' in path or '\0' in path or ':' in parts[0]:
        return 'is not a relative path'
    if any(part in ('', '.', '..') for part in parts):
        return 'leads out of the package'
    if len(path) > MAX_NAME:
        return f'is longer than {MAX_NAME} characters'
    if member.flag_bits & 1:
        return 'is encrypted'
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return 'is a link or a device'
    return ''


def _read_members(name: str, archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]) -> dict[str, bytes]:
    """Unpack the members, up to the total size limit. Raises BadRequest."""
    files: dict[str, bytes] = {}
    remaining = MAX_UNPACKED
    for path, member in members.items():
        with archive.open(member) as stream:
            data = stream.read(remaining + 1)  # the declared size may be false
        remaining -= len(data)
        if remaining < 0:
            raise BadRequest(f'{name}: it unpacks to more than {MAX_UNPACKED} bytes')
        files[path] = data
    if not files:
        raise BadRequest(f'{name}: it is empty')
    return files


def _check_package(package: str, files: Mapping[str, bytes]) -> None:
    """Raise BadRequest unless the files form a valid package."""
    if not package.isidentifier():
        raise BadRequest(f'{package!r} is not a name a Python package can have')
    if f'{package}/__init__.py' not in files:
        raise BadRequest(f'{package}/__init__.py is missing: a package needs one')
    if len(files) > MAX_MEMBERS:
        raise BadRequest(f'{package}: {len(files)} files are too many, at most {MAX_MEMBERS}')
    if sum(len(data) for data in files.values()) > MAX_UNPACKED:
        raise BadRequest(f'{package}: it holds more than {MAX_UNPACKED} bytes')


def _check_stem(name: str, stem: str) -> None:
    """Raise BadRequest unless this is a valid module name.

    Letters, digits, '_' and Zato's '-' are valid, without a leading digit.
    """
    if not stem.replace('-', '_').isidentifier():
        raise BadRequest(f'{name}: a module is named by letters, digits, _ and -, with no dot or space before .py')
