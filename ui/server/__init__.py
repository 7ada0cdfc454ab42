"""Routes of the web server beside the page."""
