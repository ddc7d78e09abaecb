"""Servers with several processes. The package contains the parent process, which holds the listening sockets, its
workers, and the state that they share.
"""
