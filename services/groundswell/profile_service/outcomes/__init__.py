"""Use cases of shown lists, of the outcomes of recommendations, and of popularity now."""
