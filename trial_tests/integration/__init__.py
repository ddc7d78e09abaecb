"""Tests against real databases, Redis, peers and servers, without whole environments."""
