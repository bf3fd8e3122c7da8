"""Tests of mimic.stored on its own."""
