"""Messages to bytes and back. Pure: sizes and types are checked here, what a message means is decided in `core`."""
