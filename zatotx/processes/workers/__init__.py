"""Servers with several processes: the parent, which holds the listening sockets, its workers, and the state they share.
"""
