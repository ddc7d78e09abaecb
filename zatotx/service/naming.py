"""Determines the names of services, including the default name of a class without a name of its own."""

from __future__ import annotations

DEPLOYED_PACKAGE = 'zatotx_deployed'  # the package that contains a namespace for each version of a deployed file


def original_module_name(module: str) -> str:
    """Return a module's original name, such as `crm.util` for `zatotx_deployed.v12.crm.util`."""
    return module.split('.', 2)[2] if module.startswith(f'{DEPLOYED_PACKAGE}.') else module


def implementation_name(cls: type) -> str:
    """Return the original module and class name of a service, such as `crm.orders.GetBalance`. The name does not depend
    on the version of the code."""
    return f'{original_module_name(cls.__module__)}.{cls.__qualname__}'


def class_name_to_dashed(name: str) -> str:
    """Convert a class name to lower-case words that are joined with dashes. `GetClientDetails` becomes
    `get-client-details`, and `HTTPPing` becomes `http-ping`."""
    letters: list[str] = []
    for position, letter in enumerate(name):
        if letter == '_':
            letters.append('-')
            continue
        if letter.isupper() and position and letters[-1] != '-':
            after_lower = name[position - 1].islower()
            before_lower = position + 1 < len(name) and name[position + 1].islower()
            if after_lower or before_lower:
                letters.append('-')
        letters.append(letter.lower())
    return ''.join(letters).strip('-')


def _overrides_get_name(cls: type) -> bool:
    """Return whether the class, or a service that it inherits from, defines get_name."""
    owner = next((base for base in cls.__mro__ if 'get_name' in vars(base)), None)
    return owner is not None and owner.__module__ != 'zatotx.service.service'


def service_name(cls: type, module: str = '') -> str:
    """Return the name of a Service subclass. It is the attribute `name`, or otherwise the result of `get_name()`, or
    otherwise `<module>.<class>`.

    `module` is the logical dotted name of the deployed file (`my_api`, `crm.orders`); the default is the class's
    `__module__`. A `name` inherited from another service is ignored.
    """
    own_name = cls.__dict__.get('name')
    if isinstance(own_name, str) and own_name:
        return own_name
    if _overrides_get_name(cls):
        return str(cls.get_name())  # type: ignore[attr-defined]
    return f'{(module or cls.__module__).replace("_", "-")}.{class_name_to_dashed(cls.__name__)}'
