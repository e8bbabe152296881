"""Training of the text encoder itself: pre-training on a catalogue's text, fine-tuning on a log."""
