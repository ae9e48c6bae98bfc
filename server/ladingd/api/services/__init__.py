"""The methods of the API, one module a service."""
