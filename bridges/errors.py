"""What every bridge raises where its target cannot follow."""


class BridgeError(ValueError):
    """A target cannot carry this exactly. The message says what, and what to do about it."""
