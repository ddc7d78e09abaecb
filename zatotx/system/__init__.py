"""Atomic writes of files, and thread pools, which several layers share."""
