"""SQLite: the embedded store, one file.

The file never changes once it is there. A seeding builds a new one beside it, without a journal, and renames it over
the old one; readers notice that the name leads to another file, and open that. So reading takes no locks, a seeding
cannot disturb it, and one that dies leaves a file that nobody looks at. Two small files stand beside the corpus:
``.lock``, locked by the running seeder and so by nobody once that has died, and ``.seeding``, the last seeding.
"""
