"""Nodes: the processes that run services and channels, which are servers and connectors."""
