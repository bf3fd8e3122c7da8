"""Tests of mimic.corpus on its own."""
