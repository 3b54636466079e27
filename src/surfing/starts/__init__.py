"""Where to begin: starts that know something of the target."""
