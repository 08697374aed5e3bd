"""The engine: one thread owns a context, any number of callers talk to it by messages.

``request`` what is asked; ``sequence`` one request in progress; ``prefix_cache`` which slot remembers which tokens;
``scheduler`` what the next step computes (pure); ``runner`` computes it (the only one that imports core);
``loop`` the thread; ``handle`` what the caller holds; ``stats`` counters.
"""
