"""Tests of zatotx.cli."""
