"""The ranker service: fuses both views of a user and finds the nearest items."""
