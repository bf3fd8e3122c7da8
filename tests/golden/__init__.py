"""A golden record: requests, and the server's answers at the time of recording."""
