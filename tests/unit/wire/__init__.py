"""Tests of mimic.server by itself."""
