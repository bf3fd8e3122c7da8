"""Stores: their common contract, and the special features of each backend."""
