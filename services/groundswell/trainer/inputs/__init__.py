"""What the models read before an event, and the check that none of it is from the future."""
