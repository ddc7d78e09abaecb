"""Minimal echo servers and clients with which `make bench` compares the broker."""
