"""What requests look like on the wire, for checking and for /openapi.json. Not for: answers, which are not checked."""
