"""The display preferences of a user. They are stored with the user in the cluster, and in a cookie for the login
page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from attrs import frozen

from zatotx.rules.display_preferences import CHOICES, DATE_FORMATS, DEFAULTS, TIME_FORMATS

_HTML_FORMAT = '%Y-%m-%dT%H:%M'  # of the value of <input type="datetime-local">


@frozen
class Preferences:
    """The display preferences of one user (see zatotx.rules.display_preferences)."""

    time_zone: str = DEFAULTS['time_zone']
    date_format: str = DEFAULTS['date_format']
    time_format: str = DEFAULTS['time_format']
    theme: str = DEFAULTS['theme']
    color: str = DEFAULTS['color']

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    def show(self, when: datetime) -> str:
        """Return an aware time as text."""
        return f'{self.show_date(when)} {when.astimezone(self.zone).strftime(TIME_FORMATS[self.time_format])}'

    def show_date(self, when: datetime) -> str:
        """Return the date of an aware time as text."""
        return when.astimezone(self.zone).strftime(DATE_FORMATS[self.date_format])

    def to_input(self, moment: float) -> str:
        """Return a Unix time as the value of an <input type="datetime-local">."""
        return datetime.fromtimestamp(moment, UTC).astimezone(self.zone).strftime(_HTML_FORMAT)

    def from_input(self, text: str) -> float | None:
        """Return the value of an <input type="datetime-local"> as Unix time; None if it is not valid."""
        try:
            return datetime.fromisoformat(text).replace(tzinfo=self.zone).timestamp()
        except (ValueError, OverflowError):
            return None


@cache
def time_zones() -> frozenset[str]:
    """Return the names of all time zones. The first call is slow, because it reads many directories."""
    return frozenset(available_timezones())


def make_preferences(chosen: Mapping[str, str]) -> Preferences:
    """Create preferences from the values that a user has chosen. Missing and invalid values are replaced with the
    defaults."""
    valid = {name: chosen[name] for name, choices in CHOICES.items() if chosen.get(name) in choices}
    if chosen.get('time_zone') in time_zones():
        valid['time_zone'] = chosen['time_zone']
    return Preferences(**valid)
