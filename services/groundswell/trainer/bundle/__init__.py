"""Trained models and tables as the files of a bundle."""
