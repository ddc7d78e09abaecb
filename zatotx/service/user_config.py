"""`self.user_config`: the users' own INI files, read once when a node starts."""

from __future__ import annotations

from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ParserError
from pathlib import Path

from zatotx.service.compat.bunch import Bunch


def load_user_config(files: Mapping[str, Path]) -> Bunch:
    """name -> file, as `self.user_config.<name>.<section>.<key>`. Values are text; keys keep their case.

    Reads files: call it outside the reactor's thread. Raises ValueError naming every file that cannot be read and why.
    """
    config = Bunch()
    mistakes: list[str] = []
    for name, path in files.items():
        parser = ConfigParser(interpolation=None, strict=True)
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # configparser's own way to keep case
        try:
            parser.read_string(path.read_text('utf-8'), str(path))
        except OSError as error:
            mistakes.append(f'{path}: {error.strerror}')
            continue
        except (UnicodeDecodeError, ParserError) as error:
            mistakes.append(f'{path}: {" ".join(str(error).split())}')
            continue
        config[name] = Bunch((section, Bunch(parser.items(section))) for section in parser.sections())
    if mistakes:
        raise ValueError('User configuration cannot be read: ' + '; '.join(mistakes))
    return config
