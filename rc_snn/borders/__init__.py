"""What enters: kinds of things, numbers, and what signatures ask for; each in one place."""
