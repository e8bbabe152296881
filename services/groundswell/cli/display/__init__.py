"""Shows answers, figures and progress on a terminal."""
