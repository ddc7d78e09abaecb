"""Discovers the servers of a cluster: known servers are queried for the list of all servers."""
