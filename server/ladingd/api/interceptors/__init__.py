"""The interceptors: every call passes them before it reaches its method."""
