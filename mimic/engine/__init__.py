"""Engines: from a neutral request to an answer."""
