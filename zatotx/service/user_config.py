"""`self.user_config`: INI files of the users, read once when a node starts."""

from __future__ import annotations

from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ParserError
from pathlib import Path

from zatotx.service.compat.bunch import Bunch


def load_user_config(files: Mapping[str, Path]) -> Bunch:
    """Load INI files by name, accessible as `self.user_config.<name>.<section>.<key>`.

    Values are text; keys keep their case. Blocks: call it outside the reactor's thread. Raises ValueError naming every
    file that cannot be read and the reason.
    """
    config = Bunch()
    errors: list[str] = []
    for name, path in files.items():
        parser = ConfigParser(interpolation=None, strict=True)
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # keeps the case of keys
        try:
            parser.read_string(path.read_text('utf-8'), str(path))
        except OSError as error:
            errors.append(f'{path}: {error.strerror}')
            continue
        except (UnicodeDecodeError, ParserError) as error:
            errors.append(f'{path}: {" ".join(str(error).split())}')
            continue
        config[name] = Bunch((section, Bunch(parser.items(section))) for section in parser.sections())
    if errors:
        raise ValueError('User configuration cannot be read: ' + '; '.join(errors))
    return config
