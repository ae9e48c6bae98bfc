"""The steps that bring a store to the shape this program needs."""
