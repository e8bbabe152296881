"""The ranker service: fuses both vectors of a user and finds the nearest items."""
