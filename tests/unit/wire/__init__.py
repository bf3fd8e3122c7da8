"""Tests of mimic.wire by itself."""
