"""The display preferences of a web admin user: the choices of date and time formats, themes and colors, and the format
strings that the choices stand for. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping

DATE_FORMATS = {
    'yyyy-mm-dd': '%Y-%m-%d', 'dd.mm.yyyy': '%d.%m.%Y', 'dd/mm/yyyy': '%d/%m/%Y', 'mm/dd/yyyy': '%m/%d/%Y',
    'dd-mm-yyyy': '%d-%m-%Y', 'dd mon yyyy': '%d %b %Y',
}  # fmt: skip
TIME_FORMATS = {'24 hours': '%H:%M:%S', '12 hours': '%I:%M:%S %p'}
THEMES = ('auto', 'light', 'dark')
COLORS = ('blue', 'green', 'orange', 'red', 'purple', 'gray')
DEFAULTS = {'time_zone': 'UTC', 'date_format': 'yyyy-mm-dd', 'time_format': '24 hours', 'theme': 'auto',
            'color': 'blue'}  # fmt: skip
CHOICES: Mapping[str, tuple[str, ...]] = {
    'date_format': tuple(DATE_FORMATS), 'time_format': tuple(TIME_FORMATS), 'theme': THEMES, 'color': COLORS,
}  # fmt: skip
