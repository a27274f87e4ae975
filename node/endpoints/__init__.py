"""What a node serves: UDP datagrams, Redis clients over TCP, JSON lines on stdin/stdout, metrics over HTTP."""
