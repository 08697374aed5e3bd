"""The engine: one thread owns a context, any number of callers talk to it by messages.

``request`` what is asked; ``sequence`` one request in progress; ``prefix_cache`` which slot remembers which tokens;
``scheduler`` what the next step computes (pure); ``runner`` computes it (the only one that imports core);
``worker`` the thread; ``output`` what it shows of a sequence; ``loop`` the engine that callers see; ``handle`` what
they hold of a request; ``speculative`` guesses; ``outcome`` what a step gave; ``stats`` counters.
"""
