"""Instances of JSON schemas: valid, deterministic, and with contents from a text."""
