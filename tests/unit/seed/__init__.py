"""Seeding on its own: from the bytes of a dump to a store."""
