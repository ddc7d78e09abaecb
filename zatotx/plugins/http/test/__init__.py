"""Tests of the HTTP kind."""
