"""Records on MongoDB: documents, connection, bounds, and the records."""
