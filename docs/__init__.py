"""The documentation: its sources, the generator of tables in ``reference``, and the configuration of the site."""
