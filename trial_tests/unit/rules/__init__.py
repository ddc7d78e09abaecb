"""Tests of zatotx.rules."""
