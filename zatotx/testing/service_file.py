"""Loads the services of a file for a test. The services are loaded as in a deployment, but from the path of the file.

Breakpoints and coverage therefore apply to the file itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zatotx.model.errors import BadRequest
from zatotx.service.compat import import_finder
from zatotx.service.deployment.module_importer import (
    ImportedVersion,
    ModuleNamespace,
    format_import_error,
    importable_modules,
)
from zatotx.service.deployment.service_checks import CheckedVersion, check_services
from zatotx.service.deployment.source_package import MODULE, SourcePackage, parse_upload, zip_directory
from zatotx.service.service import Service


class ServiceFile:
    """A loaded module or package. Its attributes are the names in the module, and `services` contains its services."""

    def __init__(self, checked: CheckedVersion) -> None:
        self._checked = checked  # keeps the modules importable

    @property
    def services(self) -> list[type[Service]]:
        """The services that a deployment of the file would add, in order and with the same names."""
        return [entry.cls for entry in self._checked.services.values()]

    def __getattr__(self, name: str) -> Any:
        if name.startswith('_'):
            raise AttributeError(name)
        module = self._checked.loaded.modules[0]
        try:
            return getattr(module, name)
        except AttributeError:
            raise AttributeError(f'{self._checked.source.file} has no {name}') from None

    def __repr__(self) -> str:
        return f'<ServiceFile {self._checked.source.file}: {", ".join(self._checked.services)}>'


def load(path: str | Path) -> ServiceFile:
    """Load the services of a module or of a package directory. Imports of Zato and relative imports work.

    Raises BadRequest listing every mistake with file and line, as a deployment does; OSError if the file cannot be
    read.
    """
    file_path = Path(path).resolve()
    source = _source(file_path)
    import_finder.install()
    namespace = ModuleNamespace(file_path.parent, () if source.form == MODULE else source.top_level_modules)
    namespace.open()
    try:
        modules = [namespace.load(name) for name in importable_modules(source)]
    except Exception as error:
        namespace.close()
        sentence = format_import_error(error, file_path.parent, source.file).replace(namespace.package + '.', '')
        raise BadRequest(sentence) from error
    return ServiceFile(check_services(ImportedVersion(source, namespace, modules)))


def _source(file_path: Path) -> SourcePackage:
    if file_path.is_dir():
        return parse_upload(f'{file_path.name}.zip', zip_directory(file_path))
    return parse_upload(file_path.name, file_path.read_bytes())
