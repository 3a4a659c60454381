"""Question banks that fill themselves: the stages that ship with rxpipe."""
