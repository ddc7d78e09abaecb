"""Servers of a cluster that join and leave by themselves: known servers are asked for the list of all."""
