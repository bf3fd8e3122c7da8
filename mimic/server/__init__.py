"""HTTP and WebSocket: connections, worker processes, and all code that uses the server library."""
