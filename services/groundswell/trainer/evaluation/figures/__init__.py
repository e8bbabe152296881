"""The figures of an evaluation, one module for each kind."""
