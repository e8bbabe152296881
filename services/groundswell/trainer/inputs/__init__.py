"""The inputs of the models before an event, and the check that none is from the future."""
