"""Files that commands write of the services' answers."""
