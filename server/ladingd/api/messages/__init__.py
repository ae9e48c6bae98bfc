"""Converts messages of the API to the domain and back."""
