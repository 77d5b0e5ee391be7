"""A Cargo that means harm, in the way that its input or its manifest names: what an Island must live through."""
