"""Streaming of response bodies."""
