"""Stores: the contract of all of them, and what each backend has for itself."""
