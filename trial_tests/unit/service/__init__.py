"""Tests of zatotx.service."""
