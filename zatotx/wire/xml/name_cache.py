"""Lets go of the names that libxml2 remembers.

lxml gives all documents that one thread parses a single dictionary of names (xmlDict of libxml2), which only grows:
whoever sends elements that are called differently each time takes memory that is never given back. After every few
megabytes the thread gets a new one. A document keeps the dictionary it was parsed with for as long as it lives itself.

lxml has no function for this. A thread that ends lets go of its dictionary, but parsing each document in a thread of
its own costs five times what parsing a small one does. So the entry that lxml makes in the state of the thread is taken
out. What it is called is no promise of lxml: `works` finds out whether it still is, a server asks that when it starts,
a test does, and setup.cfg says which versions of lxml are known.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any

from lxml import etree

EVERY = 8 * 1024 * 1024  # bytes of documents
_HELD = '_ParserDictionaryContext'  # lxml's word for it among what a thread holds (parser.pxi)

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
        release()


def release() -> bool:
    """Let go of the names that this thread holds; whether there were any."""
    held: dict[str, Any] = ctypes.cast(_thread_state(), ctypes.py_object).value
    return held.pop(_HELD, None) is not None


def works() -> bool:
    """Whether names are let go of with the lxml that is installed: a document is parsed, and its names are found where
    they are looked for."""
    etree.fromstring(b'<a/>', etree.XMLParser())
    return release()
