"""Litestar's routes, one module per group."""
