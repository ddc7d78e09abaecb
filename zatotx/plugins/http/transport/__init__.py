"""Streams the bodies of HTTP responses."""
