"""Published ports: every node takes connections for every service, and the way out to the world."""
