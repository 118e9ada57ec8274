"""Images of this host: blobs, unpacked layers, overlay roots."""
