"""The control API: REST by the public specification, truss's GraphQL, uploads. All writes go through dispatch."""
