"""The project as a whole: layers, documents, command line, secrets, dashboard."""
