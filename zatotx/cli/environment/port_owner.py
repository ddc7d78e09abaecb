"""Finds the process that listens on a TCP port of this machine."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

LISTEN = '0A'  # a socket's state in /proc/net/tcp


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on the port now, with SO_REUSEADDR as in Twisted."""
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def holds_port(pid: int, port: int) -> bool:
    """Whether the process itself has a listening socket on the port."""
    socket_links = {f'socket:[{inode}]' for inode in listening_inodes(port)}
    return bool(socket_links & open_files(pid))


def port_owner(port: int) -> int | None:
    """Return the process that listens on the port, if we have permission to see it."""
    socket_links = {f'socket:[{inode}]' for inode in listening_inodes(port)}
    for entry in Path('/proc').iterdir():
        if entry.name.isdecimal() and socket_links & open_files(int(entry.name)):
            return int(entry.name)
    return None


def listening_inodes(port: int) -> list[str]:
    """Return the inodes of the sockets that listen on the port, on any address."""
    found = []
    for table in ('/proc/net/tcp', '/proc/net/tcp6'):
        if not Path(table).exists():  # the kernel has no IPv6
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(':')[2], 16) == port:
                found.append(fields[9])
    return found


def open_files(pid: int) -> set[str]:
    """Return the link targets of a process's descriptors; empty if it has ended or belongs to another user."""
    try:
        return {link_target(entry) for entry in Path(f'/proc/{pid}/fd').iterdir()}
    except OSError:
        return set()


def link_target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)  # noqa: PTH115 - 'socket:[1]' is not a path
    except OSError:  # closed in the meantime
        return ''
