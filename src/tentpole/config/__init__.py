"""The campaign file: its sections, its schema, how it is loaded."""
