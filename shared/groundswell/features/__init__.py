"""Computations that training and serving must do alike; numpy only."""
