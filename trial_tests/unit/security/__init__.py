"""Tests of zatotx.security."""
