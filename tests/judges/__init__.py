"""Clients and frameworks of others judge the package: run by ``make judges``, in an environment of their own."""
