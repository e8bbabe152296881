"""Find items by their vectors and by their neighbours, and score them; numpy and FAISS only."""
