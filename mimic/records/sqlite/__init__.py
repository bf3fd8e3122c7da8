"""Records on SQLite: the file, its threads, the processes that hold leases, and the records."""
