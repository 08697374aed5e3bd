"""What the tests of the documents share: code blocks, shell commands, links. Not for: running models."""
