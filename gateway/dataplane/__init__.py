"""The data plane's transport: sockets on both sides of `gateway.choose`."""
