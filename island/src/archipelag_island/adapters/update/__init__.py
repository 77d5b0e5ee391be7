"""Where releases of the Island's own software come from, and where its files lie."""
