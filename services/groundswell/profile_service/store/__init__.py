"""All SQL of the suite: each module holds the statements of one subject.

Every transaction takes its locks in one order, so that there is no deadlock:

1. the counter of the catalogue, in each transaction that writes items or their texts;
2. users, by key;
3. rows of the work lists, by number;
4. items, texts of items, events, chunks and profiles, each by key.

Statements sort the rows that they lock. The locks of foreign keys may come anywhere in this order:
they never wait, since no row that a foreign key refers to is deleted, and no unique column of it is
updated.
"""
