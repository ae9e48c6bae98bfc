"""Converts between messages of the API and the model."""
