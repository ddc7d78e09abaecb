"""Nodes, which are the processes that run services and channels. A node is a server or a connector."""
