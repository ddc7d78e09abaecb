"""Tests of zatotx.logs."""
