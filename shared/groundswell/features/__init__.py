"""What training and serving must compute alike; numpy only."""
