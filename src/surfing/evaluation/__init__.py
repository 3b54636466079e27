"""The user's own measuring: own samples found again, methods compared, the demonstration."""
