"""The REST door: resources for service desks and tools, and the way in for events that are not signed."""
