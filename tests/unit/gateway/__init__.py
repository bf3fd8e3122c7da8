"""Tests of mimic.gateway on its own."""
