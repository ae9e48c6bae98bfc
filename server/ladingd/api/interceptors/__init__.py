"""What every call passes before its method."""
