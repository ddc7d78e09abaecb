"""Tests of zatotx.connectors."""
