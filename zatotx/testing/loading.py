"""The services of a file, imported as a deployment imports them, but from where the file lies: so breakpoints and
coverage are those of the file itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zatotx.model.errors import BadRequest
from zatotx.service.compat import import_finder
from zatotx.service.deployment.module_importer import LoadedModule, ModuleNamespace, error_sentence, module_names
from zatotx.service.deployment.package import MODULE, SourcePackage, accept, pack_directory
from zatotx.service.deployment.service_checks import CheckedVersion, check_services
from zatotx.service.service import Service


class ServiceFile:
    """A loaded file or package: what its module defines as attributes, its services in `services`."""

    def __init__(self, checked: CheckedVersion) -> None:
        self._checked = checked  # as long as it is there, the modules are

    @property
    def services(self) -> list[type[Service]]:
        """The services a deployment of the file would bring, in its order, each with the name it would get."""
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
    """The services of a module, or of a package by its directory. Zato's imports work in it, and relative ones.

    Raises BadRequest, as a deployment does, with every mistake by file and line; OSError where it cannot be read.
    """
    place = Path(path).resolve()
    source = _source(place)
    import_finder.install()
    space = ModuleNamespace(place.parent, () if source.form == MODULE else source.tops)
    space.open()
    try:
        modules = [space.load(name) for name in module_names(source)]
    except Exception as error:
        space.close()
        told = error_sentence(error, place.parent, source.file).replace(space.package + '.', '')
        raise BadRequest(told) from error
    return ServiceFile(check_services(LoadedModule(source, space, modules)))


def _source(place: Path) -> SourcePackage:
    if place.is_dir():
        return accept(f'{place.name}.zip', pack_directory(place))
    return accept(place.name, place.read_bytes())
