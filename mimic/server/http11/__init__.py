"""HTTP/1.1 connections: uvicorn's protocol, with limits, deadlines, refusals and a graceful end."""
