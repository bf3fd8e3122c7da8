"""Seeding: from the bytes of a ShareGPT dump to a corpus."""
