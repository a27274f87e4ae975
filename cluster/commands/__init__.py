"""The commands of `cluster`, by what they are for."""
