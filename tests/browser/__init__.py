"""A visitor's way through the app in a real browser: paint, ask, sample, use every tab, on desktop and phone."""
