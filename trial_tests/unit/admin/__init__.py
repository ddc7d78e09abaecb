"""Tests of zatotx.admin."""
