"""Many machines, by Ray: connecting, and running trials wherever there is room. Only this package imports ray."""
