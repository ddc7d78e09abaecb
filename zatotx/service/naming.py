"""How a service is called when it does not say so itself (feature map 3.1)."""

from __future__ import annotations

DEPLOYED = 'zatotx_deployed'  # the package below which each version of a file has a namespace of its own


def plain_name(module: str) -> str:
    """A module's name as its author knows it: `zatotx_deployed.v12.crm.util` -> `crm.util`."""
    return module.split('.', 2)[2] if module.startswith(f'{DEPLOYED}.') else module


def impl_name(cls: type) -> str:
    """Module and class as their author knows them: `crm.orders.GetBalance`, whichever version it is."""
    return f'{plain_name(cls.__module__)}.{cls.__qualname__}'


def to_dashed(name: str) -> str:
    """A class's name as part of a service's: `GetClientDetails` -> `get-client-details`, `HTTPPing` -> `http-ping`."""
    out: list[str] = []
    for position, letter in enumerate(name):
        if letter == '_':
            out.append('-')
            continue
        if letter.isupper() and position and out[-1] != '-':
            after_lower = name[position - 1].islower()
            before_lower = position + 1 < len(name) and name[position + 1].islower()
            if after_lower or before_lower:
                out.append('-')
        out.append(letter.lower())
    return ''.join(out).strip('-')


def _names_itself(cls: type) -> bool:
    """Whether the class, or a service it derives from, has a get_name of its own."""
    owner = next((base for base in cls.__mro__ if 'get_name' in vars(base)), None)
    return owner is not None and owner.__module__ != 'zatotx.service.service'


def service_name(cls: type, module: str = '') -> str:
    """The name of a Service subclass: its own `name`, else what its `get_name()` says, else `<module>.<class>`.

    `module` is the logical dotted name of the file it was deployed from (`my_api`, `crm.orders`); without it the
    class's `__module__` counts. A `name` inherited from another service is not a name of one's own.
    """
    own = cls.__dict__.get('name')
    if isinstance(own, str) and own:
        return own
    if _names_itself(cls):
        return str(cls.get_name())  # type: ignore[attr-defined]
    return f'{(module or cls.__module__).replace("_", "-")}.{to_dashed(cls.__name__)}'
