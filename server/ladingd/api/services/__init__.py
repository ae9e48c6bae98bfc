"""The methods of the API, with one module for each service."""
