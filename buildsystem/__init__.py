"""Builds the package: fills `vendor/`, checks it, translates build options. Never shipped in a wheel, needs only the
standard library (and scikit-build-core, inside `backend`).
"""
