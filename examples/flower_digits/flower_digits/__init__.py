"""Ten clients learn digits, two of them are traitors."""
