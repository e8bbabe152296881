"""What commands write of the services' answers."""
