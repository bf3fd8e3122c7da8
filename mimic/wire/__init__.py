"""Formats of vendors: bytes to neutral requests, neutral results and errors to bytes."""
