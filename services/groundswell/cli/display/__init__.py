"""How answers, figures and progress look on a terminal."""
