"""What a person types: parsing, output, the error wall."""
