"""Event-camera digits, decided in milliseconds."""
