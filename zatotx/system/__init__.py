"""Atomic writing of files, and thread pools, which several layers share."""
