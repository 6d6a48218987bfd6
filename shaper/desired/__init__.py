"""What is wanted, and what follows from it."""
