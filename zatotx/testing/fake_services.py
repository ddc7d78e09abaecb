"""The services of a test: those that it provides, and scripted ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zope.interface import implementer

from zatotx.interfaces.services import IServiceMap, IServiceStore
from zatotx.service.service import Service
from zatotx.service.service_entry import ServiceEntry
from zatotx.testing.fake_pipeline import CountingStats
from zatotx.testing.script import INACTIVE, MISSING, SERVICE, Call, Scripts
from zatotx.testing.service_file import ServiceFile


@implementer(IServiceMap, IServiceStore)
class FakeServices:
    """Services by name. Calling one that is neither provided nor scripted fails the test."""

    def __init__(self, scripts: Scripts, clock: Any) -> None:
        self._scripts, self._clock = scripts, clock
        self._entries: dict[str, ServiceEntry] = {}

    @property
    def current(self) -> FakeServices:
        """The services themselves, as a test has only one version of them."""
        return self

    def add(self, services: type[Service] | ServiceFile) -> list[str]:
        """Add services and return their names. Raises BadDeclaration."""
        return [
            self._add_class(cls) for cls in (services.services if isinstance(services, ServiceFile) else [services])
        ]

    def _add_class(self, cls: type[Service]) -> str:
        """Add one service and return its name. Raises ValueError if the name is taken."""
        name = cls.get_name()
        known = self._entries.get(name)
        if known is not None and known.cls is not cls:
            raise ValueError(f'Two services of this test are called {name}: {known.cls.__name__} and {cls.__name__}')
        if known is None:
            self._entries[name] = ServiceEntry.for_class(cls, name=name, stats=CountingStats())
        return name

    def __iter__(self) -> Iterator[ServiceEntry]:
        return iter(self._entries.values())

    def get(self, name: str) -> ServiceEntry | None:
        """Return the service of that name, the scripted one if it has a script; None if the test declares it missing.

        Any other name returns a service that fails the test when it is called.
        """
        script = self._scripts.existing_script(SERVICE, name)
        if script is None and name in self._entries:
            return self._entries[name]
        if script is not None and script.state == MISSING:
            return None
        return self._scripted(name, active=script is None or script.state != INACTIVE)

    def _scripted(self, name: str, *, active: bool) -> ServiceEntry:
        """Create a service that follows its script."""
        scripts, clock = self._scripts, self._clock

        class Scripted(Service):
            """A service that follows its script."""

            async def handle(self) -> None:
                caller = self._zatotx.parent
                call = Call.of((SERVICE, name), 'invoke', (self.request.payload,), {})
                result = scripts.next_result(call, '' if caller is None else caller.entry.name)
                self.response.payload = await result.run(call, self.cid, clock)

        return ServiceEntry.for_class(Scripted, name=name, stats=CountingStats(), is_active=active)
