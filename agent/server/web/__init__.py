"""What people and programs reach by HTTP: the page, the API and live view."""
