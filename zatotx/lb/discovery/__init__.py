"""Discovers the servers of a cluster, by querying known servers for the list of all servers."""
