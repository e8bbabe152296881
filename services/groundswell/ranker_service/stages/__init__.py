"""The stages of a recommendation, in their order; see `pipeline` and `recommender`."""
