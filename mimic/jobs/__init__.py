"""Work that outlives a request: it is a record with a due time, and any process may finish it."""
