"""Send one message to Claude and say whether it got through, and if not, whose move it is."""

__version__ = "0.2.0"
