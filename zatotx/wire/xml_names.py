"""Lets go of the names that libxml2 remembers.

lxml gives all documents that one thread parses a single dictionary of names, which only grows: whoever sends elements
that are called differently each time takes memory that is never given back. After every few megabytes the thread gets a
new one. A document keeps the dictionary it was parsed with for as long as it lives itself.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any

EVERY = 8 * 1024 * 1024  # bytes of documents
_HELD = '_ParserDictionaryContext'  # lxml's word for it among what a thread holds

_thread_state = ctypes.pythonapi.PyThreadState_GetDict
_thread_state.restype = ctypes.c_void_p  # a borrowed reference, which ctypes must not give back


class _Parsed(threading.local):
    size = 0  # bytes since the dictionary was new


_parsed = _Parsed()


def parsed(size: int) -> None:
    """A document of so many bytes was parsed in this thread."""
    _parsed.size += size
    if _parsed.size > EVERY:
        _parsed.size = 0
        held: dict[str, Any] = ctypes.cast(_thread_state(), ctypes.py_object).value
        held.pop(_HELD, None)
