"""MongoDB: the store for more than one machine, through PyMongo's async API or Motor.

Each seeding writes new collections (``v2_<id of the seeding>``). One document in the collection ``mimic``, the
catalogue, names the collections that are the corpus, and the running seeding. Publishing is one update of this
document. The update succeeds only while the seeder holds its lease there. Readers read the catalogue once a second, and
again before they report a miss. A replaced collection stays a few seconds for its current readers.
"""
