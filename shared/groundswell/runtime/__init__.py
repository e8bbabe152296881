"""What every service does around its calls: follow bundles and the catalogue, try again, serve."""
