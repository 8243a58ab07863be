"""The software-defined assets, in the order of the flow; each calls one function of a room."""
