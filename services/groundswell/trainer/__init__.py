"""Behaviour logs in, a trained, evaluated and published bundle out."""
