"""Large contents beside the records: bytes of uploaded files, and of results."""
