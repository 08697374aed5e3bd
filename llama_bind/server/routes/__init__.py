"""The endpoints, one module for each family.

Not for: what they have in common (``body``, ``requests``, ``replies``).
"""
