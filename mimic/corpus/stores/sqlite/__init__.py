"""SQLite: the embedded store, one file.

The file never changes. A seeding builds a new file beside it, without a journal, and renames the new file over the old
one. Readers notice that the name refers to another file, and open that. So reading takes no locks, and a seeding does
not disturb readers. A seeding that dies leaves a file that no reader opens. Two small files lie beside the corpus: the
running seeder holds a lock on ``.lock``, and ``.seeding`` records the last seeding. The system releases the lock of a
seeder that dies.
"""
