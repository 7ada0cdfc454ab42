"""Routes of the web server beside Gradio's own."""
