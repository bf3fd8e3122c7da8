"""Instances of JSON schemas: values that are valid, made deterministically, with contents taken from a text."""
