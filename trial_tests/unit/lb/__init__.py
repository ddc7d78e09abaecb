"""Tests of zatotx.lb."""
