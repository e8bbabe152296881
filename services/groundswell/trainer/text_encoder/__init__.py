"""The text encoder: found, pre-trained, fine-tuned, probed, and run over texts."""
