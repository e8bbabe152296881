"""All SQL of the suite: each module holds the statements of one subject.

Every transaction takes its locks in one order, so that no two wait for each other in a circle:

1. the counter of the catalogue: whoever writes items or their texts;
2. users, by key;
3. rows of the work lists, by number;
4. items, texts of items, events, chunks and profiles, each by key.

Statements sort what they are given. The locks of foreign keys fit anywhere: nothing that they point
at is deleted, nor is a column updated that is unique, so they wait for nobody.
"""
