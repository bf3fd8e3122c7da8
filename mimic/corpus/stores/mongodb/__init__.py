"""MongoDB: the store for more than one machine, through PyMongo's async API or Motor.

Each seeding writes collections of its own (``v2_<id of the seeding>``). One document in the collection ``mimic`` says
which of them are the corpus, and who is seeding; publishing is one update of it, which succeeds only while the seeder
still holds its lease there. Readers ask that document once a second, and again before they report that there is
nothing. A collection that has been replaced stays a few seconds for those who are still reading it.
"""
