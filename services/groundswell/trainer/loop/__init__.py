"""The parts of a training loop: run, epochs, optimizer, losses, checkpoint, processes."""
