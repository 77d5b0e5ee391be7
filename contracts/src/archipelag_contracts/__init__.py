"""What two Archipelag machines must agree on, byte for byte."""
