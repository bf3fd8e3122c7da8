"""Tests of mimic.engine on its own."""
