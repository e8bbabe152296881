"""What was recommended and what came of it; what is popular now."""
