"""Go's templates, as far as stack files and services use them."""
