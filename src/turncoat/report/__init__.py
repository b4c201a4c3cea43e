"""What results look like: tables for the terminal, charts, and the page that holds them."""
