"""Between messages of the API and the model."""
