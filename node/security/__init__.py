"""Keys, and datagrams that are sealed with them. Pure: bytes to bytes."""
