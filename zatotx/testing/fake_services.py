"""The services of a test: those it was given, and those that are scripted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zope.interface import implementer

from zatotx.interfaces.services import IServices, IServiceStore
from zatotx.service.entry import ServiceEntry
from zatotx.service.service import Service
from zatotx.testing.fake_pipeline import CountingStats
from zatotx.testing.loading import ServiceFile
from zatotx.testing.script import INACTIVE, MISSING, SERVICE, Call, Scripts


@implementer(IServices, IServiceStore)
class FakeServices:
    """Services by name. One that is asked for, was not given and is not scripted fails the test."""

    def __init__(self, scripts: Scripts, clock: Any) -> None:
        self._scripts, self._clock = scripts, clock
        self._entries: dict[str, ServiceEntry] = {}

    @property
    def current(self) -> FakeServices:
        """A test has one version of everything."""
        return self

    def add(self, given: type[Service] | ServiceFile) -> list[str]:
        """Have these services; their names. Raises BadDeclaration."""
        return [self._have(cls) for cls in (given.services if isinstance(given, ServiceFile) else [given])]

    def _have(self, cls: type[Service]) -> str:
        name = cls.get_name()
        known = self._entries.get(name)
        if known is not None and known.cls is not cls:
            raise ValueError(f'Two services of this test are called {name}: {known.cls.__name__} and {cls.__name__}')
        if known is None:
            self._entries[name] = ServiceEntry.of(cls, name=name, stats=CountingStats())
        return name

    def __iter__(self) -> Iterator[ServiceEntry]:
        return iter(self._entries.values())

    def get(self, name: str) -> ServiceEntry | None:
        """The service of that name, the scripted one where the test has a script for it; None where the test says
        that it is missing. Any other name fails the test when it is called."""
        script = self._scripts.known(SERVICE, name)
        if script is None and name in self._entries:
            return self._entries[name]
        if script is not None and script.state == MISSING:
            return None
        return self._scripted(name, active=script is None or script.state != INACTIVE)

    def _scripted(self, name: str, *, active: bool) -> ServiceEntry:
        scripts, clock = self._scripts, self._clock

        class Scripted(Service):
            """Stands for a service that the test did not give."""

            async def handle(self) -> None:
                asker = self._zatotx.parent
                call = Call.of((SERVICE, name), 'invoke', (self.request.payload,), {})
                play = scripts.play(call, '' if asker is None else asker.entry.name)
                self.response.payload = await play.run(call, self.cid, clock)

        return ServiceEntry.of(Scripted, name=name, stats=CountingStats(), is_active=active)
