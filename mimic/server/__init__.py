"""HTTP and WebSocket: connections, worker processes and everything that knows the server library."""
