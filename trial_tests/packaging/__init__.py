"""Tests of what is shipped: the wheel, the documentation, and the rules for the source tree."""
